"""The benchmark of a step's kernels: which kind each is."""

import pytest

from benchmarks.speed.kernels import OTHER, kind_of


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm90_xmma_dgrad_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolutions and products"),
        ("upfirdn2d_channels_last", "upfirdn2d"),
        ("bias_act_1_vector", "bias_act"),
        ("scale_planes_scalar", "scaling"),
        ("products_last_vector", "scaling"),
        ("void at::native::reduce_kernel<128, 4, at::native::ReduceOp<c10::BFloat16, ", "sums"),
        ("distribution_elementwise_grid_stride_kernel<float, 4, normal_and_transform<float", "random numbers"),
        ("aten::normal_", "random numbers"),
        ("aten::linalg_vector_norm", "sums"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>", OTHER),
    ],
)
def test_kinds(kernel, kind):
    assert kind_of(kernel) == kind
