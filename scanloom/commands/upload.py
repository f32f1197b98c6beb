"""Put a folder into a Google Cloud Storage bucket, where a dataset's source `gcs` or a TPU finds it.

What is there with the same content stays, and other content is replaced only with --replace. Names of files become
names of objects: see that none names a patient. Interrupt it at any time; the same command goes on from there.

    scanloom upload results/heads/shards gs://my-bucket/studies/heads
"""

import argparse
import sys
from pathlib import Path

from scanloom import plugins
from scanloom.commands._words import bytes_in_words, files_in_words
from scanloom.sources._progress import shown

SCHEME = "gs://"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="every file below it is put there")
    parser.add_argument("bucket", metavar="gs://BUCKET/PREFIX", help="where to; paths are kept below the prefix")
    parser.add_argument("--replace", action="store_true", help="objects that are there with other content, too")
    parser.add_argument("--anonymous", action="store_true", help="without this machine's Google login")
    parser.add_argument("--parallel", type=int, default=8, help="files at the same time (8)")


def run(arguments: argparse.Namespace) -> int:
    """Upload and print what was done. Raises ValueError or OSError for what the user can mend."""
    if not arguments.folder.is_dir():
        raise FileNotFoundError(f"no folder {arguments.folder}")
    bucket, _, prefix = arguments.bucket.removeprefix(SCHEME).partition("/")
    if not (arguments.bucket.startswith(SCHEME) and bucket):
        raise ValueError(f"'{arguments.bucket}': expected {SCHEME}BUCKET or {SCHEME}BUCKET/PREFIX")
    below = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    given = {"bucket": bucket, "prefix": below, "anonymous": arguments.anonymous, "parallel": arguments.parallel}
    settings = plugins.settings("sources", "gcs", given)
    try:
        with shown("B") as progress:
            report = plugins.load("sources", "gcs").upload(
                arguments.folder, settings, replace=arguments.replace, progress=progress
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130  # as shells report a process that ended by Ctrl-C
    print(
        f"{files_in_words(report.files)}, {bytes_in_words(report.bytes)} in {SCHEME}{bucket}/{below} "
        f"({report.uploaded} uploaded, {report.reused} were there)"
    )
    return 0
