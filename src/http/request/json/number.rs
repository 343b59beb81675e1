//! Finds numbers that a reader would change: integers beyond 64 bits, and more digits than a float has.

use std::collections::BTreeMap;

use serde_json::Number;
use serde_json::value::RawValue;

use super::misfit::{Misfit, Segment};

/// What would be valid.
const RULE: &str = "is a number that cannot be kept exactly: write an integer of 64 bits, a number of at \
                    most 15 digits within the range of a 64-bit float, or a string";

/// Whether every number down to `depth` is kept exactly. The error has the path of the first that is not.
pub(super) fn check(value: &RawValue, depth: usize) -> Result<(), Misfit> {
    let (text, Some(below)) = (value.get(), depth.checked_sub(1)) else { return Ok(()) };
    match text.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
            members.into_iter().try_for_each(|(name, value)| {
                check(value, below).map_err(|misfit| misfit.within(Segment::Member(name)))
            })
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            items.into_iter().enumerate().try_for_each(|(index, value)| {
                check(value, below).map_err(|misfit| misfit.within(Segment::Item(index)))
            })
        }
        b'-' | b'0'..=b'9' if !is_exact(text) => Err(Misfit::other(RULE.to_owned())),
        _ => Ok(()),
    }
}

/// Whether the number is printed with the value that it is written with.
fn is_exact(text: &str) -> bool {
    serde_json::from_str::<Number>(text)
        .is_ok_and(|number| decimal(text).is_some_and(|value| Some(value) == decimal(&number.to_string())))
}

/// Sign, significant digits, and the power of ten of the last one: the same for all texts of one value.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole.trim_start_matches('-'), fraction].concat();
    let significant = digits.trim_end_matches('0');
    let shift = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0').to_owned();
    let power = if significant.is_empty() {
        0
    } else {
        exponent
            .parse::<i64>()
            .ok()?
            .checked_add(i64::try_from(shift).ok()?)?
            .checked_sub(i64::try_from(fraction.len()).ok()?)?
    };
    Some((text.starts_with('-'), significant, power))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_exact_if_it_is_printed_with_the_same_value() {
        for exact in [
            "0",
            "-0",
            "0.000",
            "1e2",
            "1E-2",
            "100",
            "0.10",
            "1e22",
            "10000000000000000000000",
            "0e99999999999999999999",
        ] {
            assert!(is_exact(exact), "{exact}");
        }
        for not in
            ["1e309", "1e-400", "1e-9223372036854775808", "0.30000000000000000001", "36893488147419103232"]
        {
            assert!(!is_exact(not), "{not}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_integer_of_64_bits_and_every_float_is_exact(
            a in any::<i64>(),
            b in any::<u64>(),
            c in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
        ) {
            let written = [a.to_string(), b.to_string(), serde_json::to_string(&c).unwrap()];
            prop_assert!(written.iter().all(|number| is_exact(number)), "{:?}", written);
        }

        #[test]
        fn every_number_of_15_digits_is_exact(
            digits in 0_u64..1_000_000_000_000_000,
            power in -290_i32..290,
        ) {
            let written = format!("{digits}e{power}");
            prop_assert!(is_exact(&written));
        }

        /// Moving the point changes the text and not the value.
        #[test]
        fn the_same_value_is_equal_however_it_is_written(
            digits in 1_u64..,
            power in -40_i32..40,
            zeros in 0_usize..20,
        ) {
            let plain = format!("{digits}e{power}");
            let moved = format!("0.{digits:020}{:0<zeros$}E{}", "", power + 20);
            prop_assert_eq!(decimal(&plain), decimal(&moved));
            let next = format!("{}e{power}", u128::from(digits) + 1);
            prop_assert_ne!(decimal(&plain), decimal(&next));
        }
    }
}
