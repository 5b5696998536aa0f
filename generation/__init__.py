"""Pictures and videos from a trained generator: latents, labels, rendering, style mixing, interpolation."""
