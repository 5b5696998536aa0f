"""CUDA kernels of `upfirdn2d` and `bias_act`: compiled with NVRTC at first use, cached, launched by the driver.

`compiler` finds NVRTC and compiles; `cache` keeps the binaries; `driver` loads and launches them; `kernels` joins
the three for one device; `upfirdn2d` and `bias_act` lay out a launch; `library` registers the operators with PyTorch.
"""
