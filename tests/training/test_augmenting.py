"""What discriminators see samples through: known changes, that gradients flow back through."""

import pytest
import torch

from gandask.training.augmenting import AUGMENTATIONS, Augmented, colour, cutout, translation


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 7, 12)])
def test_shapes_stay_draws_are_seeded_and_gradients_flow(name, shape):
    images = (torch.rand(6, *shape, generator=chance(1)) * 2 - 1).requires_grad_(True)
    made = AUGMENTATIONS[name](images, chance())
    assert made.shape == images.shape
    assert torch.equal(made, AUGMENTATIONS[name](images, chance()))
    assert not torch.equal(made, AUGMENTATIONS[name](images, chance(2)))
    (slope,) = torch.autograd.grad(made.sum(), images)
    assert slope.abs().sum() > 0


def test_images_move_by_up_to_an_eighth_and_leave_nothing_behind():
    images = torch.zeros(400, 1, 16, 16)
    images[:, 0, 8, 5] = 1.0
    found = translation(images, chance()).nonzero()
    assert len(found) == 400
    for dim, at in ((2, 8), (3, 5)):
        moved = found[:, dim] - at
        assert sorted({*moved.tolist()}) == [-2, -1, 0, 1, 2]
    assert not torch.equal(found[:, 2] - 8, found[:, 3] - 5)


def test_what_moves_in_is_grey():
    moved = translation(torch.ones(50, 1, 16, 16), chance())
    assert {*moved.unique().tolist()} == {0.0, 1.0}
    lost = 1 - moved.mean((1, 2, 3))
    assert lost.max() <= 1 - (14 / 16) ** 2 + 1e-6


def test_a_hole_of_half_the_sides_is_cut_at_any_place():
    cut = cutout(torch.ones(500, 3, 16, 16), chance())
    holes = (cut == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])  # of all channels
    assert holes.max() == 8 * 8
    assert holes.min() >= 4 * 4  # over a corner
    covered = (cut[:, 0] == 0).float().mean(0)
    assert covered.min() > 0  # no place is safe


def test_colours_change_by_known_amounts():
    grey = colour(torch.full((500, 3, 4, 4), 0.2), chance())
    assert (grey - grey[:, :1, :1, :1]).abs().max() < 1e-6  # nothing but brightness
    assert -0.3 - 1e-6 <= grey.min() < -0.25
    assert 0.65 < grey.max() <= 0.7 + 1e-6
    ramp = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4).expand(500, -1, -1, -1)
    widths = colour(ramp, chance()).flatten(1).std(1) / ramp[0].std()
    assert 0.5 <= widths.min() < 0.55
    assert 1.45 < widths.max() <= 1.5 + 1e-5


def test_a_discriminator_sees_samples_changed_in_order_and_labels_as_they_are():
    seen = []

    def watched(samples, *labels):
        seen.append((samples, labels))
        return samples.flatten(1).sum(1, keepdim=True)

    images, labels = torch.rand(4, 1, 8, 8, generator=chance(1)), torch.arange(4)
    judge = Augmented(watched, ["translation", "cutout"], chance())
    judge(images, labels)
    stream = chance()
    expected = cutout(translation(images, stream), stream)
    assert torch.equal(seen[0][0], expected)
    assert torch.equal(seen[0][1][0], labels)
    judge(images, labels)
    assert not torch.equal(seen[1][0], expected)  # other changes each time
