"""Positions of the taps of `basis_resample` and the smallest divisor: what its versions share."""

import math
from fractions import Fraction

SMALLEST_SUM = 1e-6  # lower bound of the sum of mixed taps, which divides the result


def first_taps(step: Fraction, siting: Fraction, support: int) -> list[int]:
    """Source sample under the first tap of the first output sample of each phase, along one axis; may be negative.

    The `support` taps are centred on the position ``step * (i + siting) - siting``: in (-support / 2, support / 2].
    Output i has phase ``i mod P``, P the denominator; its taps start ``step.numerator * (i // P)`` samples further.
    """
    positions = (step * (i + siting) - siting for i in range(step.denominator))
    return [math.floor(position - Fraction(support, 2)) + 1 for position in positions]
