"""Frozen codecs between data (images, sound) and tokens."""

from cdcd_jax.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "PixelCodec": "pixels",
        "PatchCodec": "patches",
        "fit_patch_codec": "patches",
        "load_patches": "patches",
        "VQGANOptions": "vqgan",
        "make_vqgan": "vqgan",
        "load_vqgan": "codec_file",
        "save_vqgan": "codec_file",
        "ImageCodec": "image_codec",
        "JukeboxOptions": "jukebox_options",
        "make_jukebox": "jukebox",
        "load_jukebox": "audio_file",
        "save_jukebox": "audio_file",
        "AudioCodec": "audio_codec",
        "SpectrumCodec": "spectra",
        "fit_spectrum_codec": "spectra",
        "load_spectra": "spectra",
    },
)
