"""Archives of others: what comes out is what tar and zip put in, and nothing of a hostile one stays on the disk.

Expectations: the bytes that Python's own zipfile and tarfile packed, and the list of attacks in the Zip Slip report and
in PEP 706.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanloom.files.archives import ArchiveError, Limits, kind_of, safe_path, unpack

FILES = {"a/1.dcm": b"one" * 1000, "a/b/2.dcm": b"", "readme": b"text"}


def zipped(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(path, files=FILES, mode="w", extra=()):
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        for member in extra:
            file.addfile(member)
    return path


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_what_was_packed_comes_out_whatever_the_name_says(tmp_path, mode):
    packed = tmp_path / "archive.bin"
    zipped(packed) if mode == "zip" else tarred(packed, mode=mode)
    assert kind_of(packed) == ("zip" if mode == "zip" else "tar")
    counted = []
    written = unpack(packed, tmp_path / "out", progress=counted.append)
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in written} == FILES
    assert sum(counted) == sum(map(len, FILES.values()))
    assert left(tmp_path) == sorted(["archive.bin", "out", "out/a", "out/a/b", *(f"out/{name}" for name in FILES)])


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_single_compressed_file_loses_its_ending(tmp_path, suffix, pack):
    packed = tmp_path / f"scan.nii.{suffix}"
    packed.write_bytes(pack(b"volume" * 100))
    assert kind_of(packed) == "gz"
    [path] = unpack(packed, tmp_path / "out")
    assert (path.name, path.read_bytes()) == ("scan.nii", b"volume" * 100)


def test_other_files_are_no_archives(tmp_path):
    for content in (b"", b"\0" * 600, b"\0" * 128 + b"DICM" + b"\1" * 600, b"plain"):
        path = tmp_path / "file"
        path.write_bytes(content)
        assert kind_of(path) is None
        with pytest.raises(ArchiveError, match="unknown archive"):
            unpack(path, tmp_path / "out")
    assert left(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/out", "C:/out", "a\nb", "x" * 256, "a/" * 1500])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_no_path_escapes(tmp_path, name, pack):
    packed = pack(tmp_path / "archive", {"good": b"1", name: b"2"})
    with pytest.raises(ArchiveError, match="member 2 has") as error:
        unpack(packed, tmp_path / "out")
    assert name not in str(error.value), "names may identify a patient"
    assert left(tmp_path) == ["archive"]


def test_name_with_a_nul_is_refused(tmp_path):
    packed = zipped(tmp_path / "archive", {"aXb": b"1"})
    packed.write_bytes(packed.read_bytes().replace(b"aXb", b"a\0b"))
    with pytest.raises(ArchiveError, match="control character"):
        unpack(packed, tmp_path / "out")


def test_folders_written_with_backslashes_by_windows_are_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as file:
        file.writestr("a\\", b"")
        file.writestr("a\\1.dcm", b"1")
    assert unpack(tmp_path / "archive", tmp_path / "out") == [tmp_path / "out/a/1.dcm"]
    with zipfile.ZipFile(tmp_path / "archive", "w") as file:
        file.writestr("..\\1.dcm", b"1")
    with pytest.raises(ArchiveError, match="unsafe"):
        unpack(tmp_path / "archive", tmp_path / "out2")


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc"),
        special("link", tarfile.SYMTYPE, "readme"),
        special("hard", tarfile.LNKTYPE, "readme"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.linkname}",
)
def test_links_and_devices_are_refused(tmp_path, member):
    packed = tarred(tmp_path / "archive", extra=[member])
    with pytest.raises(ArchiveError, match="member 4 is a link or device"):
        unpack(packed, tmp_path / "out")
    assert left(tmp_path) == ["archive"]


def test_symbolic_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "archive", "w") as file:
        file.writestr(link, "/etc")
    with pytest.raises(ArchiveError, match="link or device"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_two_members_of_one_name_are_refused(tmp_path):
    with tarfile.open(tmp_path / "archive", "w") as file:
        for name in ("same", "same"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(ArchiveError, match="member 2 has the path of an earlier one"):
        unpack(tmp_path / "archive", tmp_path / "out")
    packed = tarred(tmp_path / "other", {"a": b"1", "a/b": b"2"})
    with pytest.raises(ArchiveError, match="member 2 has the path of an earlier one"):
        unpack(packed, tmp_path / "out")


def test_bombs_stop_before_the_disk_is_full(tmp_path):
    bomb = {"zeros": bytes(5_000_000)}
    for packed in (zipped(tmp_path / "zip", bomb), tarred(tmp_path / "tar", bomb, "w:gz")):
        with pytest.raises(ArchiveError, match="archive bomb"):
            unpack(packed, tmp_path / "out", limits=Limits(free_bytes=1000))
        with pytest.raises(ArchiveError, match="more than 4000000 bytes"):
            unpack(packed, tmp_path / "out", limits=Limits(total_bytes=4_000_000))
        assert len(unpack(packed, tmp_path / packed.name.upper())) == 1, "small enough to be harmless"
    single = tmp_path / "single"
    single.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(ArchiveError, match="archive bomb"):
        unpack(single, tmp_path / "out", limits=Limits(free_bytes=1000))
    with pytest.raises(ArchiveError, match="more than 2 members"):
        unpack(zipped(tmp_path / "many"), tmp_path / "out", limits=Limits(files=2))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_size_that_lies_is_noticed_while_writing(tmp_path):
    packed = zipped(tmp_path / "archive", {"zeros": bytes(5_000_000)})
    data = packed.read_bytes()
    # The declared size stands in the local header and in the central directory (APPNOTE 4.3.7, 4.3.12).
    packed.write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError):
        unpack(packed, tmp_path / "out", limits=Limits(free_bytes=1000))
    assert left(tmp_path) == ["archive"]


def test_giant_header_is_not_read_into_memory(tmp_path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 32
    (tmp_path / "archive").write_bytes(header.tobuf() + tarred(tmp_path / "good").read_bytes())
    with pytest.raises(ArchiveError, match="tar header of 4294967296 bytes"):
        unpack(tmp_path / "archive", tmp_path / "out")


def test_password_is_asked_for_by_name(tmp_path):
    packed = zipped(tmp_path / "archive", {"a": b"1"})
    data = bytearray(packed.read_bytes())
    data[6] |= 1  # general purpose bit 0: encrypted (APPNOTE 4.4.4), local header and central directory
    data[data.index(b"PK\1\2") + 8] |= 1
    packed.write_bytes(data)
    with pytest.raises(ArchiveError, match="encrypted archive: member 1 needs a password"):
        unpack(packed, tmp_path / "out")


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        unpack(zipped(tmp_path / "archive"), tmp_path / "out")


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_truncated_archive_leaves_nothing(tmp_path, mode):
    # Random bytes, so that what is cut off is content and not tar's padding.
    files = {f"{i}": bytes((i * 7 + j * j) % 251 for j in range(3000)) for i in range(5)}
    packed = tmp_path / "archive"
    zipped(packed, files) if mode == "zip" else tarred(packed, files, mode)
    whole = packed.read_bytes()
    for share in (0.3, 0.6):
        packed.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ArchiveError):
            unpack(packed, tmp_path / "out")
        assert left(tmp_path) == ["archive"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("harm", ["changed", "cut"])
def test_no_member_is_lost_where_a_later_header_is_damaged(tmp_path, mode, harm):
    """tarfile itself takes such a header for the end of the archive."""
    plain = bytearray(tarred(tmp_path / "plain").read_bytes())
    with tarfile.open(tmp_path / "plain") as file:
        last = file.getmembers()[-1].offset
    plain = plain[:last] if harm == "cut" else plain[: last + 5] + bytes([plain[last + 5] ^ 0x40]) + plain[last + 6 :]
    (tmp_path / "archive").write_bytes(gzip.compress(plain) if mode == "w:gz" else plain)
    with pytest.raises(ArchiveError, match="damaged archive"):
        unpack(tmp_path / "archive", tmp_path / "into")
    assert not (tmp_path / "into").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), mode=st.sampled_from(["zip", "w", "w:gz"]))
def test_changed_bytes_give_the_content_or_an_archive_error(tmp_path_factory, data, mode):
    folder = tmp_path_factory.mktemp("fuzz")
    packed = folder / "archive"
    zipped(packed) if mode == "zip" else tarred(packed, mode=mode)
    content = bytearray(packed.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    packed.write_bytes(content)
    try:
        unpack(packed, folder / "in" / "out", limits=Limits(total_bytes=1_000_000))
    except ArchiveError:
        assert left(folder) in (["archive"], ["archive", "in"])
    assert not list((folder.parent).glob("out*"))


@given(st.text(max_size=40))
def test_safe_path_never_leaves_its_folder(name):
    try:
        path = safe_path(name)
    except ValueError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
