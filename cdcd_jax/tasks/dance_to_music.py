"""Music for dances, and sound alone to train a codec on."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cdcd_jax.data.dance import aist, tiktok
from cdcd_jax.data.dance.aist import load_aist
from cdcd_jax.data.dance.dance_files import VIDEO_FEATURES
from cdcd_jax.data.dance.dances import Dances
from cdcd_jax.data.dance.examples import MusicExamples, ShuffledWaveforms
from cdcd_jax.data.dance.recordings import Recordings, SoundFolder
from cdcd_jax.data.dance.segments import Segments
from cdcd_jax.data.dance.tiktok import load_tiktok
from cdcd_jax.data.dance.views import WaveformPlan, load_piece
from cdcd_jax.data.negative_lists import load_negatives
from cdcd_jax.data.shards.manifest import Plan
from cdcd_jax.data.shards.prepare_options import check_options
from cdcd_jax.data.toy.groove import load_groove
from cdcd_jax.editing import Original
from cdcd_jax.generator import Generator
from cdcd_jax.registry import register
from cdcd_jax.settings.keys import Keys, argument_keys
from cdcd_jax.settings.sections import make_section
from cdcd_jax.tasks.conditions import ConditionedData
from cdcd_jax.tasks.music import load_dances, load_recordings, load_segments
from cdcd_jax.tasks.music_codecs import find_window
from cdcd_jax.tasks.music_grid import draw_music, save_edited_music
from cdcd_jax.tasks.music_scoring import music_options
from cdcd_jax.tasks.places import SPLITS, Places
from cdcd_jax.tasks.preparation import Preparation, SplitPlan, check_prepare
from cdcd_jax.tasks.scoring import Scoring, check_source, synthetic_notice
from cdcd_jax.tasks.sources import DataSet, require_path, split_name
from cdcd_jax.tasks.task import EVAL_KEYS, PREPARED_KEYS, Task
from cdcd_jax.tasks.token_data import (
    TokenData,
    check_classes,
    check_listed,
    open_tokens,
    random_tokens,
    two_of_each,
)

WINDOW_KEYS = (
    *("seconds", "stride", "test_stride", "test_rest", "train_segments", "test_segments"),
    *("video_steps", "intra", "negatives"),
)
"""Keys of the section ``data`` that say which windows of dances are taken."""

MOTION_FEATURES = {"smpl": 219, "keypoints": 51}
"""Numbers of a frame of AIST++'s motion."""

TIKTOK_FEATURES = 75
"""Numbers of a frame of TikTok's: 25 key points with their confidence."""


class DanceToMusicTask(Task):
    """Music that is generated for dances; their data sets load ``Dances``."""

    noun = "music"
    codec_data = "music"
    provides = ("dances",)
    edits = "music"
    data_keys = Keys.of(*PREPARED_KEYS, *WINDOW_KEYS, other=("motion", "synthetic"))
    eval_keys = Keys.of(*EVAL_KEYS, "num_judged", other=("num_real", "metrics"))
    prepare_keys = Keys(
        argument_keys(check_options).known
        | argument_keys(WaveformPlan, given=("seconds", "stride")).known
    )

    def open_split(self, split: str) -> Segments:
        """Cut the dances of a split into windows."""
        return load_segments(self.config, split)

    def open_for_codec(self, split: str) -> Recordings:
        """Open the sound of a split, with or without dances."""
        return load_recordings(self.config, split)

    def describe_tokens(self, codec: Any, train: Any, test: Any) -> TokenData:
        """Describe prepared music with its dances."""
        data, examples = self.config.data, MusicExamples(train)
        _check_intra(data.intra)
        others = None
        if data.negatives is not None:
            others = load_negatives(
                data.negatives,
                # A piece that begins with its dance has the dance's name, as in the published file.
                [name.removesuffix("@0.0s") for name in train.image_names],
                np.arange(len(examples)) // examples.waveforms.views,
                examples.group,
                listed_names=load_dances(self.config, "train").names,
            )
        return TokenData(
            codec=codec,
            train=examples,
            test=MusicExamples(test),
            class_names=train.class_names,
            fingerprint=train.plan.digest,
            others=others,
            own=ShuffledWaveforms(examples) if data.intra == "waveform" else None,
        )

    def random_data(self) -> TokenData:
        """Make random tokens, and dances that stand still."""
        check_prepare(self.config)
        shuffles = plan_waveforms(self.config).shuffles
        make_section(self.config, "data", _check_intra, self.config.data.intra, shuffles)
        train, test = (self.open_split(split) for split in SPLITS)
        check_listed(self.config)
        make_section(self.config, "data", check_classes, train.class_names, test.class_names)
        video = None
        if train.dances.video_features is not None:
            video = train.video_steps, train.dances.video_features
        return _still_dances(
            self.config, (train.frames, train.num_features), video, train.class_names
        )

    def plan_split(self, split: str, source: Segments, codec: Any) -> SplitPlan:
        """Plan how windows are varied; test music is as it is."""
        waveforms, section = plan_waveforms(self.config), self.config.prepare
        if split == "test":
            stride = self.config.data.test_stride
            waveforms = waveforms._replace(stride=stride, views=1, shuffles=0)
        plan = Plan(
            fingerprint=codec.fingerprint,
            source=source.name,
            source_fingerprint=source.fingerprint,
            num_images=len(source),
            class_names=source.class_names,
            vocab_size=codec.vocab_size,
            grid=codec.grid,
            views=waveforms.views + waveforms.shuffles,
            seed=section.seed,
            shard_size=section.shard_size,
            waveforms=waveforms._asdict(),
        )
        load = partial(load_piece, source, waveforms, section.seed)
        # Consecutive pieces are of one dance, which is read once, so by one thread.
        return SplitPlan(plan, load, tuple(source.remarks), unit="pieces", num_threads=1)

    def make_scoring(self, data: TokenData, conditioned: ConditionedData, workdir: Path) -> Scoring:
        """Compare beats, and genres where there are some, with those of dances and real music."""
        config, train = self.config, data.train
        if data.class_names:
            labels = (
                train.shards.cond[:: train.shards.plan.views]
                if isinstance(train, MusicExamples)
                else self.open_split("train").groups
            )
            self.check_classifier(labels, "num_judged")
        return Scoring(
            make_options=lambda: make_section(config, "eval", music_options, config, data),
            check=lambda: make_section(config, "data", self._check_pieces, data),
            unmeasured=synthetic_notice(config),
        )

    def _check_pieces(self, data: TokenData) -> None:
        for split, examples in (("train", data.train), ("test", data.test)):
            if isinstance(examples, MusicExamples):
                check_source(self.config, examples.shards, self.open_split(split))
        if data.class_names and len(data.test) < 2:
            raise ValueError(
                "the test dances give one piece, and scores of genres need two; give more"
            )

    def show(
        self,
        generator: Generator,
        places: Places,
        path: Path,
        seed: int,
        request: Any = None,
        **options: Any,
    ) -> Path:
        """Make music for test dances; write spectrograms, and WAV files into a folder beside them.

        Raises:
            ValueError: If the test dances are not there; the sentence says that a dance can be
                given instead.
        """
        assert request is None  # a dance is given as a file, and its music is not an image
        if self._shown is None:
            self._shown = self._load_test_dances(places, generator)
        return draw_music(generator, *self._shown, path, seed, **options)

    def save_edited(
        self,
        generator: Generator,
        original: Original,
        edited: np.ndarray,
        request: Any,
        path: Path,
        *,
        caption: str,
    ) -> None:
        """Write spectrograms, and WAV files into a folder beside them."""
        save_edited_music(original, edited, request, path, caption=caption)

    _shown: tuple[Segments, MusicExamples] | None = None

    def _load_test_dances(self, places: Places, generator: Any) -> tuple[Segments, MusicExamples]:
        try:
            test = open_tokens(self.config, places, "test", generator.codec.fingerprint)
            return self.open_split("test"), MusicExamples(test, generator.conditioning.parts)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{error}; the test dances are not at hand, add --motion=FILE to sample for another"
            ) from error


class SoundTask(DanceToMusicTask):
    """Sound without dances, for a codec alone; its data set loads ``Recordings``."""

    provides = ()
    data_keys = Keys.of(*PREPARED_KEYS, other=("motion",))
    eval_keys = Keys()

    def load_data(self, places: Places) -> TokenData:
        """Refuse, as nothing says what the music is to be generated from."""
        raise ValueError(
            'data.name = "sound" is for a codec alone, with --mode=codec: nothing says what such '
            "music is to be generated from"
        )

    def abstract_data(self) -> TokenData:
        """Refuse likewise."""
        raise ValueError(
            'data.name = "sound" is for a codec alone; a plan is made of a diffusion, as in '
            "--config=configs/groove.py"
        )

    def make_preparation(self, places: Places) -> Preparation:
        """Refuse likewise."""
        raise ValueError('data.name = "sound" holds no dances; take a data set of dances')


def plan_waveforms(config: Any) -> WaveformPlan:
    """Plan how the windows of training music are varied.

    Raises:
        ValueError: If a value is wrong.
    """
    section = config.prepare
    plan = WaveformPlan(
        seconds=find_window(config).seconds,
        stride=config.data.stride,
        views=section.views,
        shuffles=section.shuffles,
        num_chunks=section.num_chunks,
        quietest=section.quietest,
    )
    make_section(config, "prepare", plan.check)
    return plan


def _check_intra(intra: str, num_shuffles: int | None = None) -> None:
    """Check where intra negatives come from, and how many there will be if that is known."""
    if intra not in ("tokens", "waveform"):
        raise ValueError(f'intra = "{intra}" must be one of "tokens", "waveform"')
    if intra == "waveform" and num_shuffles == 0:
        raise ValueError('intra = "waveform" needs prepare.shuffles of 1 or more; it is 0')


def _still_dances(
    config: Any,
    motion: tuple[int, int],
    video: tuple[int, int] | None,
    genre_names: tuple[str, ...],
    **options: Any,
) -> TokenData:
    """Make random tokens for dances that stand still, of these shapes."""
    genres = two_of_each(len(genre_names))
    cond = {"motion": np.zeros((len(genres), *motion), np.float32)}
    if video is not None:
        cond["video"] = np.zeros((len(genres), *video), np.float32)
    if genre_names:
        cond["genre"] = genres
    return random_tokens(config, cond, genres, genre_names, **options)


def _abstract(
    fps: float, genre_names: tuple[str, ...], num_features: int | None, config: Any
) -> TokenData:
    data = config.data
    if num_features is None:
        if data.motion not in MOTION_FEATURES:
            known = ", ".join(MOTION_FEATURES)
            raise ValueError(f"data.motion = {data.motion} must be one of {known}")
        num_features = MOTION_FEATURES[data.motion]
    video = None
    if data.video is not None or config.condition.video is None:
        video = data.video_steps, VIDEO_FEATURES
    frames = round(data.seconds * fps)
    return _still_dances(config, (frames, num_features), video, genre_names, fps=fps)


def _load_groove(config: Any, split: str) -> Dances:
    data = config.data
    counts = {"train": data.num_dances, "test": data.num_test_dances}
    options = {"seconds": data.dance_seconds, "seed": data.dance_seed}
    return load_groove(split_name(data, split), num_dances=counts[split], **options)


def _load_aist(config: Any, split: str) -> Dances:
    data = config.data
    options = {name: data[name] for name in ("motion", "music", "video", "seconds")}
    return load_aist(_path(data), split_name(data, split), **options)


def _load_tiktok(config: Any, split: str) -> Dances:
    data = config.data
    options = {"video": data.video, "seconds": data.seconds}
    return load_tiktok(_path(data), split_name(data, split), **options)


def _load_sound(config: Any, split: str) -> SoundFolder:
    return SoundFolder(_path(config.data), split_name(config.data, split))


def _path(data: Any) -> str:
    return require_path(data, f'"{data.name}" lies', "/data/aist")


DANCES = (DanceToMusicTask,)
for name, data_set in {
    "groove": DataSet(
        tasks=DANCES,
        load=_load_groove,
        keys=("num_dances", "num_test_dances", "dance_seconds", "dance_seed"),
    ),
    "aist": DataSet(
        tasks=DANCES,
        load=_load_aist,
        keys=("path", "motion", "music", "video"),
        abstract=partial(_abstract, aist.FPS, tuple(aist.GENRES.values()), None),
    ),
    "tiktok": DataSet(
        tasks=DANCES,
        load=_load_tiktok,
        keys=("path", "video"),
        abstract=partial(_abstract, tiktok.FPS, (), TIKTOK_FEATURES),
    ),
    "sound": DataSet(tasks=(SoundTask,), load=_load_sound, keys=("path",)),
}.items():
    register("source", name, data_set)
