//! The ways people write each digit, as the knots a pen passes through.
//!
//! Units: x grows to the right, about 0..60; y downwards, 0..100. The curve through a stroke's
//! knots is smooth except at corners.

/// The digits 0 to 9.
pub(super) const N_CLASSES: usize = 10;

/// One way to write a digit. Its forms are extremes of it: every form has the same strokes with the
/// same knots, so that anything between two of them is a digit too.
pub(super) struct Variant {
    /// How common it is, relative to the other variants of its digit.
    pub(super) weight: usize,
    pub(super) forms: &'static [Form],
}

/// Strokes, each a row of knots in the order the pen takes.
pub(super) type Form = &'static [&'static [Knot]];

/// A point that the pen passes through.
#[derive(Clone, Copy)]
pub(super) struct Knot {
    pub(super) x: f32,
    pub(super) y: f32,
    /// Whether the direction may change at once.
    pub(super) is_corner: bool,
}

/// The variants of `digit`, below [`N_CLASSES`].
pub(super) fn variants(digit: usize) -> &'static [Variant] {
    ALPHABET[digit]
}

/// `stroke![x y, x y corner, …]`
macro_rules! stroke {
    ($($x:literal $y:literal $($corner:ident)?),+) => {
        &[$(Knot { x: $x as f32, y: $y as f32, is_corner: stroke!(@ $($corner)?) }),+]
    };
    (@ corner) => { true };
    (@) => { false };
}

const ALPHABET: [&[Variant]; N_CLASSES] =
    [ZERO, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN, EIGHT, NINE];

const ZERO: &[Variant] = &[
    // Once around, from the top to the left.
    Variant {
        weight: 10,
        forms: &[
            &[stroke![34 2, 16 10, 4 32, 2 60, 12 88, 30 98, 48 88, 58 62, 57 34, 47 10, 32 3]],
            &[stroke![40 4, 27 12, 16 34, 10 62, 14 88, 26 97, 38 84, 46 60, 50 34, 49 12, 38 5]],
            &[stroke![30 6, 10 14, -4 36, -5 64, 8 90, 32 97, 54 86, 66 60, 62 30, 44 8, 18 6]],
        ],
    },
    // Begun at the right, the end crossing the start.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![
                46 12, 30 2, 12 14, 2 40, 4 68, 18 94, 38 94, 54 72, 58 44, 50 18, 34 6,
                20 12
            ]],
            &[stroke![
                54 4, 34 4, 14 18, 4 42, 4 70, 16 92, 34 96, 48 76, 54 48, 46 22, 30 10,
                10 2
            ]],
        ],
    },
];

const ONE: &[Variant] = &[
    // A single stroke.
    Variant {
        weight: 14,
        forms: &[
            &[stroke![32 0, 30 33, 29 66, 30 100]],
            &[stroke![26 0, 30 33, 33 66, 33 100]],
            &[stroke![34 0, 31 33, 29 66, 25 100]],
        ],
    },
    // With an upstroke.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![14 20, 24 11, 33 1 corner, 31 33, 30 66, 30 100]],
            &[stroke![4 32, 18 17, 30 1 corner, 30 33, 31 66, 31 100]],
        ],
    },
    // With an upstroke and a foot.
    Variant {
        weight: 2,
        forms: &[
            &[stroke![10 20, 22 12, 32 2 corner, 31 33, 30 66, 30 98], stroke![6 98, 30 99, 56 97]],
            &[
                stroke![14 26, 24 14, 33 1 corner, 32 33, 31 66, 31 98],
                stroke![14 99, 32 98, 50 98],
            ],
        ],
    },
];

const TWO: &[Variant] = &[
    // A corner at the lower left.
    Variant {
        weight: 6,
        forms: &[
            &[stroke![6 24, 18 5, 40 3, 50 22, 42 46, 22 74, 3 96 corner, 30 95, 58 94]],
            &[stroke![10 16, 24 2, 42 6, 48 26, 40 52, 22 78, 6 97 corner, 28 98, 50 99]],
            &[stroke![0 12, 18 2, 42 4, 54 20, 44 42, 18 66, -8 88 corner, 28 90, 66 94]],
        ],
    },
    // A loop at the lower left.
    Variant {
        weight: 5,
        forms: &[
            &[stroke![6 20, 22 3, 42 8, 46 32, 34 60, 18 86, 4 93, 0 82, 14 77, 34 90, 60 93]],
            &[stroke![4 26, 18 5, 42 3, 52 24, 42 54, 20 84, -2 96, -6 82, 10 72, 36 88, 66 90]],
            &[stroke![10 18, 24 2, 40 10, 42 36, 32 64, 20 88, 10 95, 6 88, 16 82, 32 92, 52 100]],
        ],
    },
];

const THREE: &[Variant] = &[
    // Two bows that meet in a corner.
    Variant {
        weight: 7,
        forms: &[
            &[stroke![8 12, 26 1, 46 10, 42 32, 20 46 corner, 44 56, 50 78, 32 97, 2 90]],
            &[stroke![2 10, 24 0, 48 6, 50 26, 28 44 corner, 52 52, 58 74, 38 96, 4 98]],
            &[stroke![12 16, 28 2, 42 14, 38 34, 24 44 corner, 40 56, 44 80, 28 98, 6 84]],
            &[stroke![-6 10, 22 -2, 52 4, 52 24, 26 42 corner, 54 50, 64 72, 38 96, -8 94]],
        ],
    },
    // A small loop in the middle.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![8 10, 28 0, 46 12, 40 34, 22 46, 14 42, 30 46, 50 64, 42 90, 18 98, 0 88]],
            &[stroke![4 14, 26 2, 44 14, 38 38, 20 52, 12 44, 28 44, 48 58, 46 86, 20 99, 2 96]],
        ],
    },
    // A straight top.
    Variant {
        weight: 1,
        forms: &[
            &[stroke![8 4, 28 3, 50 3 corner, 24 40 corner, 46 52, 52 74, 34 96, 4 93]],
            &[stroke![4 2, 26 3, 46 6 corner, 26 42 corner, 44 50, 54 72, 40 94, 8 98]],
        ],
    },
];

const FOUR: &[Variant] = &[
    // Open at the top, the bar crossing the stem.
    Variant {
        weight: 6,
        forms: &[
            &[stroke![12 2, 8 28, 4 54 corner, 30 54, 60 50], stroke![48 4, 46 50, 42 100]],
            &[stroke![6 6, 0 28, 0 50 corner, 30 54, 64 46], stroke![52 0, 46 48, 42 100]],
            &[stroke![16 10, 12 34, 12 56 corner, 28 56, 50 50], stroke![44 0, 43 50, 44 98]],
        ],
    },
    // One bow from the left tip into the stem, in one go.
    Variant {
        weight: 5,
        forms: &[
            &[stroke![10 4, 4 34, 14 52, 36 46, 50 10 corner, 47 54, 42 100]],
            &[stroke![2 10, 0 36, 14 50, 36 40, 52 0 corner, 44 50, 38 100]],
            &[stroke![14 0, 10 28, 16 46, 32 44, 44 14 corner, 46 56, 46 100]],
        ],
    },
    // Closed at the top.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![44 2, 24 30, 2 62 corner, 30 62, 62 60], stroke![44 3, 44 50, 43 100]],
            &[stroke![40 4, 20 28, 4 52 corner, 28 54, 56 48], stroke![41 4, 42 50, 38 98]],
        ],
    },
];

const FIVE: &[Variant] = &[
    // Stem and bow first, the hat after.
    Variant {
        weight: 5,
        forms: &[
            &[
                stroke![16 5, 13 22, 9 42 corner, 32 38, 50 56, 44 84, 22 98, 0 90],
                stroke![16 5, 36 4, 60 2],
            ],
            &[
                stroke![20 8, 16 24, 14 42 corner, 30 44, 42 62, 36 86, 18 97, 2 96],
                stroke![20 7, 42 3, 66 -4],
            ],
            &[
                stroke![18 4, 12 24, 6 46 corner, 34 36, 56 52, 52 82, 28 98, 2 86],
                stroke![18 6, 34 8, 52 6],
            ],
        ],
    },
    // In one go, from the right of the hat.
    Variant {
        weight: 4,
        forms: &[
            &[stroke![56 4, 36 5, 18 6 corner, 12 42 corner, 34 38, 50 58, 42 86, 20 97, 0 88]],
            &[stroke![62 0, 42 4, 24 8 corner, 12 46 corner, 32 46, 42 64, 34 88, 14 98, -6 94]],
        ],
    },
    // Without corners, near an S.
    Variant {
        weight: 2,
        forms: &[
            &[stroke![54 2, 30 5, 14 22, 22 40, 42 56, 44 80, 24 97, 2 90]],
            &[stroke![60 4, 36 2, 18 18, 22 42, 38 60, 36 84, 16 97, -6 92]],
        ],
    },
];

const SIX: &[Variant] = &[
    // A curved back, the loop closed on it.
    Variant {
        weight: 10,
        forms: &[
            &[stroke![42 1, 22 20, 8 48, 4 74, 16 96, 38 94, 48 76, 38 58, 20 60, 6 76]],
            &[stroke![28 0, 16 26, 8 54, 9 82, 22 97, 38 90, 42 74, 32 64, 18 70, 10 84]],
            &[stroke![50 6, 24 16, 4 42, 0 74, 18 98, 44 94, 56 72, 42 52, 18 56, 2 72]],
            &[stroke![36 0, 18 24, 8 52, 8 82, 26 98, 48 90, 50 70, 36 60, 20 72, 14 88]],
        ],
    },
];

const SEVEN: &[Variant] = &[
    // Roof and stem.
    Variant {
        weight: 8,
        forms: &[
            &[stroke![4 8, 28 5, 54 4 corner, 44 34, 34 66, 27 100]],
            &[stroke![0 10, 28 10, 56 6 corner, 40 36, 28 66, 24 100]],
            &[stroke![8 4, 28 4, 48 2 corner, 42 32, 38 66, 37 100]],
        ],
    },
    // With a drop at the start of the roof.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![2 26, 6 8 corner, 28 7, 54 4 corner, 40 36, 31 68, 28 100]],
            &[stroke![6 22, 8 4 corner, 30 8, 56 2 corner, 46 34, 36 66, 26 98]],
        ],
    },
    // With a bar across the stem.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![4 6, 28 5, 54 4 corner, 42 36, 32 68, 26 100], stroke![16 52, 36 49, 56 48]],
            &[stroke![2 8, 26 6, 50 2 corner, 42 34, 36 66, 32 100], stroke![20 46, 38 47, 54 44]],
        ],
    },
];

const EIGHT: &[Variant] = &[
    // An S from the upper right, then back up.
    Variant {
        weight: 7,
        forms: &[
            &[stroke![
                46 12, 28 1, 10 14, 18 36, 38 54, 48 76, 34 97, 12 93, 6 74, 24 52, 44 32,
                48 14, 38 4
            ]],
            &[stroke![
                54 8, 34 0, 16 14, 20 36, 34 54, 38 78, 24 98, 8 92, 6 76, 24 54, 46 32,
                56 14, 48 4
            ]],
            &[stroke![
                44 18, 28 3, 4 10, 8 34, 40 50, 58 74, 38 98, 6 96, -2 74, 22 54, 42 38,
                48 20, 40 8
            ]],
        ],
    },
    // One ring on the other.
    Variant {
        weight: 2,
        forms: &[
            &[
                stroke![30 48, 12 38, 10 14, 28 2, 46 12, 46 34, 28 47],
                stroke![28 48, 8 62, 8 86, 28 98, 50 86, 50 62, 30 48],
            ],
            &[
                stroke![30 42, 16 34, 14 14, 30 2, 44 12, 44 32, 32 43],
                stroke![30 44, 4 58, 2 84, 28 98, 56 86, 56 60, 32 44],
            ],
        ],
    },
    // Open at the top: the two ends pass each other.
    Variant {
        weight: 2,
        forms: &[
            &[stroke![14 4, 10 22, 24 42, 42 62, 46 84, 28 98, 10 86, 14 64, 32 42, 46 22, 52 2]],
            &[stroke![20 2, 8 18, 18 40, 40 60, 48 82, 28 98, 6 88, 12 64, 34 44, 44 24, 40 2]],
        ],
    },
];

const NINE: &[Variant] = &[
    // A ring and a nearly straight stem.
    Variant {
        weight: 7,
        forms: &[
            &[stroke![46 14, 30 2, 10 12, 4 34, 18 46, 38 36, 48 12 corner, 46 42, 43 70, 40 100]],
            &[stroke![48 10, 34 2, 16 12, 12 30, 24 40, 40 30, 50 8 corner, 42 40, 34 70, 28 100]],
            &[stroke![42 18, 24 4, 2 14, -2 38, 18 52, 40 42, 48 18 corner, 48 44, 49 70, 50 100]],
        ],
    },
    // With a hook at the foot.
    Variant {
        weight: 3,
        forms: &[
            &[stroke![
                46 16, 30 2, 10 12, 6 34, 22 46, 40 36, 47 16 corner, 48 46, 44 80, 24 98,
                4 88
            ]],
            &[stroke![
                44 14, 26 2, 6 16, 6 38, 24 46, 40 34, 46 14 corner, 47 48, 40 82, 20 97,
                2 96
            ]],
        ],
    },
    // The stem loops out of the ring without a corner.
    Variant {
        weight: 2,
        forms: &[
            &[stroke![30 40, 12 44, 4 28, 16 6, 38 2, 50 18, 46 44, 38 72, 30 100]],
            &[stroke![40 34, 18 46, 4 34, 12 8, 34 0, 48 16, 48 44, 46 72, 44 100]],
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_variant_have_the_same_strokes_and_knots() {
        for (digit, variants) in ALPHABET.iter().enumerate() {
            for variant in *variants {
                let shape = |form: Form| -> Vec<Vec<bool>> {
                    form.iter().map(|s| s.iter().map(|knot| knot.is_corner).collect()).collect()
                };
                let first = shape(variant.forms[0]);
                assert!(first.iter().all(|stroke| stroke.len() >= 2), "a stroke of {digit}");
                for form in variant.forms {
                    assert_eq!(shape(form), first, "a form of {digit}");
                }
            }
        }
    }
}
