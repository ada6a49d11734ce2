"""Each flag with the modes that do not read it, and flags that contradict each other."""

from collections.abc import Iterator

from tests.adversarial.cases import Case
from tests.adversarial.commands import TINY, command, png, trained_run

MODES = ("train", "evaluate", "sample", "edit", "codec", "prepare", "plan")
SAMPLING = ("train", "evaluate", "codec", "prepare", "plan")
"""Modes that draw no samples at a user's request."""

UNREAD = {
    "num_samples=4": SAMPLING,
    "label=3": SAMPLING,
    "num_steps=2": SAMPLING,
    "truncation=0.9": SAMPLING,
    "top_k=3": SAMPLING,
    "temperature=0.9": SAMPLING,
    "seed=4": SAMPLING,
    "guidance=2": SAMPLING,
    "prompt=a cat": SAMPLING,
    "prompt_file=prompts.txt": SAMPLING,
    "negative_prompt=a cat": SAMPLING,
    "trajectory": ("train", "plan", "prepare", "edit"),
    "gif": ("train", "plan", "codec", "edit"),
    "image=a.png": ("train", "evaluate", "sample", "plan"),
    "mask=a.png": ("train", "evaluate", "sample", "plan"),
    "box=0,0,4,4": ("train", "codec", "sample"),
    "strength=0.5": ("prepare", "evaluate", "sample"),
    "motion=dance.npy": ("train", "evaluate", "plan"),
    "seconds=3": ("train", "evaluate", "plan"),
    "genre=gBR": ("train", "evaluate", "plan"),
    "video=video.npy": ("train", "evaluate", "plan"),
    "audio_out=dance.wav": ("train", "evaluate", "plan"),
    "video_out=dance.mp4": ("train", "evaluate", "plan"),
    "denoise=1": ("train", "evaluate", "plan"),
    "export=samples.npz": ("train", "codec", "prepare", "plan"),
    "bpe_merges=merges.txt.gz": MODES,  # of a model of one's own
    "profile=1:2": ("evaluate", "sample", "codec", "prepare", "plan"),
    "start_from=old": ("evaluate", "sample", "codec", "prepare", "plan"),
    "reference_checkpoint=x.pth": ("train", "codec", "prepare", "plan"),
    "plan=sample": ("train", "evaluate", "sample", "codec", "prepare"),
    "devices=2": ("train", "evaluate", "sample", "codec", "prepare"),
    "hardware=h200": ("train", "evaluate", "sample", "codec", "prepare"),
    "num_hosts=2": ("plan",),
    "coordinator=localhost:1": ("plan",),
}
"""A flag with a value that is right elsewhere -> the modes in which nothing reads it."""

PROMPTS = {"prompts.txt": "a cat\n"}
GREY = png((8, 8))
CONTRADICTIONS = {
    "a label of texts": ("--mode=sample", "--label=3", "--prompt=a cat"),
    "a label and a file of texts": ("--mode=sample", "--label=3", "--prompt_file=prompts.txt"),
    "an export and a film": ("--mode=sample", "--export=out", "--gif"),
    "an export and a trajectory": ("--mode=sample", "--export=out.npz", "--trajectory"),
    "a dance and a text": ("--mode=sample", "--motion=dance.npy", "--prompt=a cat"),
    "a dance and a label": ("--mode=sample", "--motion=dance.npy", "--label=3"),
    "a dance and a film of digits": ("--mode=sample", "--motion=dance.npy", "--gif"),
    "sound without a dance": ("--mode=sample", "--audio_out=dance.wav"),
    "a film without a dance": ("--mode=sample", "--video_out=dance.mp4"),
    "a genre without a dance": ("--mode=sample", "--genre=gBR"),
    "noise reduction without a dance": ("--mode=sample", "--denoise=1"),
    "seconds without a dance": ("--mode=sample", "--seconds=0"),
    "a negative text for a model of classes": ("--mode=sample", "--negative_prompt=a cat"),
    "a text for a model of classes": ("--mode=sample", "--prompt=a cat"),
    "a dance for a model of classes": ("--mode=sample", "--motion=dance.npy"),
    "two ways to start": ("--start_from=old", "--reference_checkpoint=x.pth"),
    "a start from itself": ("--start_from=run",),
    "a label of everything": ("--mode=evaluate", "--reference_checkpoint=x.pth", "--label=3"),
    "samples of a dance": ("--mode=evaluate", "--reference_checkpoint=x.pth", "--motion=d.npy"),
    "a profile beyond the end": ("--profile=1:5",),
    "an edit of nothing": ("--mode=edit", "--label=3"),
    "a mask without an image": ("--mode=edit", "--mask=a.png"),
    "a mask and a box": ("--mode=edit", "--image=a.png", "--mask=a.png", "--box=0,0,4,4"),
    "an edit to a text, of a model of classes": ("--mode=edit", "--image=a.png", "--prompt=a cat"),
    "an edit with guidance without a null": ("--mode=edit", "--image=a.png", "--guidance=2"),
    "fewer samples than texts": ("--mode=sample", "--prompt=a", "--prompt=b", "--num_samples=1"),
}
"""What goes wrong -> flags that do not go together."""

SETTINGS = {
    "more contrast steps than steps": ("loss.mechanism=step", "loss.contrast_steps=9"),
    "a warm-up longer than the run": ("optimizer.warmup_steps=9", "train.num_steps=4"),
    "a decay shorter than the warm-up": ("optimizer.warmup_steps=3", "optimizer.decay_steps=2"),
    "more parts than examples": ("train.batch_size=2", "train.num_microbatches=4"),
    "rates above one": ("schedule.final_keep=0.6", "schedule.final_uniform=0.6"),
    "rates that fall": ("schedule.first_keep=0.1", "schedule.final_keep=0.9"),
    "heads that do not divide": ("denoiser.width=8", "denoiser.num_heads=3"),
    "patches that do not divide": ("loss.negatives=intra", "loss.patches=(3,3)"),
    "a grid of other data": ("codec.grid=(4,16)",),
    "a mesh of more than there is": ("mesh.data=2", "mesh.fsdp=2"),
    "more samples at a time than memory": ("eval.batch_size=100000000",),
    "more steps of evaluation than T": ("schedule.num_steps=4", "eval.num_steps=(5,)"),
    "tokens outside the vocabulary": ("codec.vocab_size=10",),
    "guidance without a null": ("sample.guidance=2.0", "condition.dropout=0.0"),
    "all conditions dropped": ("condition.dropout=1.0",),
    "dropout of no condition": ("condition.kind=none", "condition.dropout=0.1"),
    "a cooldown longer than the run": ("optimizer.decay=wsd", "optimizer.cooldown_steps=99"),
    "a batch larger than the data": ("train.batch_size=100000000",),
}
"""What goes wrong -> settings that do not go together."""

SAYS = {
    "a label and a file of texts": "prompt",
    "an edit of nothing": "image",
    "fewer samples than texts": "prompt",
    "rates that fall": "schedule",
    "rates above one": "schedule",
    "a decay shorter than the warm-up": "steps",
    "a warm-up longer than the run": "warmup_steps",
    "more parts than examples": "microbatches",
    "a batch larger than the data": "batch_size",
}
"""What the sentence names where it is not the last flag or key."""


def cases() -> Iterator[Case]:
    """Yield the table."""
    for flag, modes in UNREAD.items():
        for mode in modes:
            yield command(
                f"{flag} with {mode}",
                *TINY,
                f"--mode={mode}",
                f"--{flag}",
                says=flag.partition("=")[0],
                files=PROMPTS,
            )
    for name, flags in CONTRADICTIONS.items():
        yield command(
            name,
            *TINY,
            *flags,
            says=SAYS.get(name, flags[-1].partition("=")[0].removeprefix("--")),
            prepare=trained_run,
            files={**PROMPTS, "a.png": GREY},
        )
    for name, assignments in SETTINGS.items():
        changed = {assignment.partition("=")[0] for assignment in assignments}
        kept = (
            flag for flag in TINY if flag.split("=")[0].removeprefix("--config.") not in changed
        )
        yield command(
            name,
            *kept,
            *(f"--config.{assignment}" for assignment in assignments),
            says=SAYS.get(name, assignments[-1].partition("=")[0].partition(".")[2]),
        )
