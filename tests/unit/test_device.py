"""Arrays as tensors, and back."""

import numpy as np
import torch

from daskgnn.nn.device import CPU


def test_a_tensor_shares_an_arrays_memory_unless_it_is_read_only():
    array = np.arange(3, dtype=np.float32)
    CPU.tensor(array)[1] = 7
    assert array.tolist() == [0, 7, 2]
    CPU.copy(array)[1] = 8
    array.flags.writeable = False
    CPU.tensor(array)[1] = 9
    assert array.tolist() == [0, 7, 2]


def test_an_array_shares_a_tensors_memory():
    x = torch.zeros(2, requires_grad=True)
    CPU.array(x)[:] = 5
    assert x.tolist() == [5, 5]


def test_bfloat16_travels_as_its_bits():
    x = torch.tensor([1.5, -3.0], dtype=torch.bfloat16)
    bits = CPU.array(x)
    assert bits.dtype == np.uint16
    wanted = np.array([1.5, -3.0], np.float32).view(np.uint32) >> 16
    np.testing.assert_array_equal(bits, wanted)
    assert torch.equal(CPU.tensor(bits), x)


def test_numbers_alone_keep_their_type():
    for dtype in (np.float32, np.float64, np.int64, np.bool_):
        array = np.array(1, dtype)
        assert CPU.copy(array).shape == ()
        assert CPU.array(CPU.copy(array)).dtype == dtype
