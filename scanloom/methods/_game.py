"""Generator against discriminator: the passes and losses of the two players' updates.

Importing this imports Keras, so methods do it inside `build`.
"""

from collections.abc import Callable

import keras

from scanloom.images.intensity import to_unit
from scanloom.methods._adversarial import AdversarialSettings, sigmas_of, windowed
from scanloom.methods._discriminator import body_of, has_statistics, heads, own_trunk, statistics_kept
from scanloom.methods._generator import generator
from scanloom.methods._latent_model import LatentPlayer
from scanloom.training.alternating import Alternating
from scanloom.training.branches import of_branch, of_method


def networks(encoder, settings: AdversarialSettings, image_shape: tuple[int, ...], seed: int, normalisation) -> dict:
    """Keras models: "trunk" and "heads" ("logit", "windowed", "noise"), "generator", and, where it is not a head, the
    regressor: "reader" and "reader_heads". normalisation: of a discriminator that is not the study's encoder.
    """

    def trunk(normalisation):
        # Another seed: a study whose encoder is a discriminator would else start with two networks alike.
        return own_trunk(settings.networks, settings.network_width, normalisation, image_shape, seed + 1)

    judge = encoder if settings.regressor != "encoder" else trunk(normalisation)
    judge = body_of(judge, settings.head_from)
    asked = {"logit": 1, "windowed": 1, "noise": settings.latent}
    if settings.window is None:
        del asked["windowed"]
    if settings.regressor != "attached":
        del asked["noise"]
    nets = {"trunk": judge, "heads": heads(judge, asked, seed)}
    nets["generator"] = generator(settings.networks, sigmas_of(settings), image_shape, settings.network_width, seed)
    if settings.regressor in ("independent", "encoder"):
        reader = encoder if settings.regressor == "encoder" else trunk(None)
        nets["reader"] = body_of(reader, settings.head_from)
        nets["reader_heads"] = heads(nets["reader"], {"noise": settings.latent}, seed, "reader_heads")
    return nets


class Game:
    """What a method plays.

    judging(scores, draws) -> (loss, {report: scalar}) is the discriminator's, fooling(fake, draws) -> loss the
    generator's; scores: "real" and "fake", [batch] each. With penalty(score, real, fake, draws) -> scalar, given to
    judging as scores["penalty"], every image is judged by itself: normalisations of the discriminator use their running
    statistics. Only real images move these, with a penalty or without: the encoder goes on with real images.
    """

    def __init__(
        self, settings: AdversarialSettings, views, judging: Callable, fooling: Callable, reports: tuple, penalty=None
    ):
        self._settings, self._sigmas = settings, keras.ops.convert_to_tensor(sigmas_of(settings), "float32")
        self._views = views if settings.use_views else None
        self._judging, self._fooling, self._reports, self._penalty = judging, fooling, reports, penalty
        self._weights = {"logit": 1.0} | ({"windowed": settings.window_weight} if settings.window else {})

    def players(self, nets: dict) -> list[LatentPlayer]:
        """Discriminator and generator."""
        terms = ("reading",) if self._settings.regressor != "none" else ()
        terms += ("reconstruction",) if self._settings.reconstruction_weight else ()
        games = [_prefix(head) for head in self._weights]
        judges = [name for name in nets if name != "generator"]
        judged = (*(prefix + report for prefix in games for report in ("adversarial", *self._reports)), *terms)
        fooled = (*(prefix + "adversarial" for prefix in games), *terms)
        return [
            LatentPlayer("discriminator", nets, judges, self.discriminate, self._discriminator_loss, judged),
            LatentPlayer("generator", nets, ["generator"], self.generate, self._generator_loss, fooled),
        ]

    def discriminate(self, nets: dict, batch: dict, training: bool) -> dict:
        """The discriminator's pass: scores of both kinds of images, and what the other terms need."""
        draws, real = of_method(batch), self._real(batch)
        with statistics_kept(nets["generator"]):
            fake = keras.ops.stop_gradient(_images(nets, draws["noise"]))
        with statistics_kept(nets["trunk"]):
            of_fake = self._judged(nets, fake)
        of_real = self._judged(nets, real)
        found = {"logit": {"real": of_real["logit"], "fake": of_fake["logit"]}}
        with statistics_kept(nets["trunk"]):
            if "windowed" in self._weights:
                pair = {"real": self._seen("windowed", real), "fake": self._seen("windowed", fake)}
                found["windowed"] = {kind: self._judged(nets, images)["windowed"] for kind, images in pair.items()}
            if self._penalty:
                for head, scores in found.items():
                    scores["penalty"] = self._penalised(nets, head, real, fake, draws)
        if self._penalty and has_statistics(nets["trunk"]):
            nets["trunk"](real, training=True)
        readers = [nets["reader"]] if "reader" in nets else []
        with statistics_kept(*readers):
            found |= self._told(nets, fake, of_fake, "estimate")
        if readers and not self._settings.reconstruction_weight and has_statistics(nets["reader"]):
            nets["reader"](real, training=True)
        if self._settings.reconstruction_weight:
            noise = self._told(nets, real, of_real, "noise")["noise"]
            with statistics_kept(nets["generator"]):
                found |= {"images": real, "rebuilt": _images(nets, noise)}
        return found

    def generate(self, nets: dict, batch: dict, training: bool) -> dict:
        """The generator's pass: what the discriminator makes of its images; nobody else's statistics change."""
        fake = _images(nets, of_method(batch)["noise"])
        others = [network for name, network in nets.items() if name != "generator"]
        with statistics_kept(*others):
            of_fake = self._judged(nets, fake)
            found = {"logit": {"fake": of_fake["logit"]}}
            if "windowed" in self._weights:
                found["windowed"] = {"fake": self._judged(nets, self._seen("windowed", fake))["windowed"]}
            found |= self._told(nets, fake, of_fake, "estimate")
            if self._settings.reconstruction_weight:
                real = self._real(batch)
                noise = self._told(nets, real, None, "noise")["noise"]
                with statistics_kept(nets["generator"]):
                    found |= {"images": real, "rebuilt": _images(nets, noise)}
        return found

    def _discriminator_loss(self, found: dict, batch: dict):
        total, scalars = 0.0, {}
        for head, weight in self._weights.items():
            loss, reported = self._judging(found[head], of_method(batch))
            total = total + weight * loss
            reported = {"adversarial": loss} | reported
            scalars |= {_prefix(head) + name: value for name, value in reported.items()}
        return self._with_terms(total, scalars, found, batch)

    def _generator_loss(self, found: dict, batch: dict):
        losses = {head: self._fooling(found[head]["fake"], of_method(batch)) for head in self._weights}
        total = sum(self._weights[head] * loss for head, loss in losses.items())
        scalars = {_prefix(head) + "adversarial": loss for head, loss in losses.items()}
        return self._with_terms(total, scalars, found, batch)

    def _with_terms(self, total, scalars: dict, found: dict, batch: dict):
        ops, settings = keras.ops, self._settings
        if settings.regressor != "none":
            error = self._sigmas * (of_method(batch)["noise"] - found["estimate"])
            scalars["reading"] = ops.mean(ops.square(error))
            total = total + settings.regressor_weight * scalars["reading"]
        if settings.reconstruction_weight:
            scalars["reconstruction"] = ops.mean(ops.square(found["images"] - found["rebuilt"]))
            total = total + settings.reconstruction_weight * scalars["reconstruction"]
        return total, scalars

    def _real(self, batch: dict):
        images = to_unit(batch["images"])
        return images if self._views is None else self._views.apply(images, of_branch(batch, 0))

    def _seen(self, head: str, images):
        """Images as the game of this head shows them."""
        return windowed(images, self._settings.window) if head == "windowed" else images

    def _judged(self, nets: dict, images) -> dict:
        outputs = nets["heads"](nets["trunk"](images, training=self._penalty is None))
        outputs = {head: keras.ops.cast(values, "float32") for head, values in outputs.items()}
        return {head: values if head == "noise" else values[:, 0] for head, values in outputs.items()}

    def _penalised(self, nets: dict, head: str, real, fake, draws: dict):
        def score(images):
            return self._judged(nets, images)[head]

        return self._penalty(score, self._seen(head, real), self._seen(head, fake), draws)

    def _told(self, nets: dict, images, judged: dict | None, name: str) -> dict:
        """The regressor's estimate of the noise, under this name; nothing where there is no regressor."""
        if self._settings.regressor == "none":
            return {}
        if self._settings.regressor == "attached":
            return {name: (judged or self._judged(nets, images))["noise"]}
        read = nets["reader_heads"](nets["reader"](images, training=True))["noise"]
        return {name: keras.ops.cast(read, "float32")}


def alternating(encoder, settings: AdversarialSettings, players: list, turns: tuple[int, int]) -> Alternating:
    """The players as one model, discriminator first, with the method's momenta for Adam."""
    judge, maker = players
    judge.adam_betas = momenta = (settings.beta_1, settings.beta_2)
    if settings.generator_optimizer is None:
        maker.adam_betas = momenta
    else:
        maker.own_optimizer = settings.generator_optimizer
    return Alternating(encoder, players, turns, (1.0, settings.generator_rate))


def _images(nets: dict, noise):
    return keras.ops.cast(nets["generator"](noise, training=True), "float32")


def _prefix(head: str) -> str:
    return "" if head == "logit" else f"{head}_"
