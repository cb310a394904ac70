//! A JSON number as DynamoDB keeps it: exact, as decimal text, never through a float.

use thiserror::Error;

/// The most significant digits that DynamoDB keeps.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-data-types-number>
const MAX_DIGITS: usize = 38;

/// The powers of ten that a number's first significant digit may stand for; same source.
const MAGNITUDES: std::ops::RangeInclusive<i64> = -130..=125;

/// Why DynamoDB cannot keep a number.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum NumberError {
    #[error("a number of {0} significant digits, and at most {MAX_DIGITS} can be kept")]
    TooPrecise(usize),
    #[error(
        "a number out of range: its magnitude must be from 1E-130 to 9.9999999999999999999999999999999999999E+125, or zero"
    )]
    OutOfRange,
}

/// A number's sign, its significant digits without zeros at either end, and the place of their decimal point: the value
/// is `0.digits` times ten to the power of `point`. Zero has no digits.
struct Decimal {
    negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    /// Reads text that follows JSON's grammar of numbers (RFC 8259, section 6).
    fn parse(json: &str) -> Self {
        let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
        // An exponent beyond 64 bits is beyond every limit, too: only its sign matters.
        let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
        let negative = mantissa.starts_with('-');
        let (integer, fraction) =
            mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));

        let digits = [integer, fraction].concat();
        let leading_zeros = digits.len() - digits.trim_start_matches('0').len();
        let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            negative,
            digits: digits.trim_matches('0').to_owned(),
            point: exponent.saturating_add(length(integer.len()) - length(leading_zeros)),
        }
    }
}

/// The same number in plain decimal notation without superfluous zeros, which is what DynamoDB gives back for it.
///
/// # Errors
///
/// If DynamoDB cannot keep it.
pub(crate) fn canonical(json: &str) -> Result<String, NumberError> {
    let Decimal { negative, digits, point } = Decimal::parse(json);
    if digits.is_empty() {
        return Ok("0".to_owned());
    }
    if digits.len() > MAX_DIGITS {
        return Err(NumberError::TooPrecise(digits.len()));
    }
    if !MAGNITUDES.contains(&point.saturating_sub(1)) {
        return Err(NumberError::OutOfRange);
    }

    let sign = if negative { "-" } else { "" };
    let leading_zeros = "0".repeat(usize::try_from(-point).unwrap_or(0));
    let point = usize::try_from(point).unwrap_or(0);
    Ok(if point == 0 {
        format!("{sign}0.{leading_zeros}{digits}")
    } else if point < digits.len() {
        format!("{sign}{}.{}", &digits[..point], &digits[point..])
    } else {
        format!("{sign}{digits:0<point$}")
    })
}

/// The bytes that a number takes in an item: a byte for every two significant digits on either side of the decimal
/// point, one more, and one for a minus sign.
///
/// AWS documents the sum as approximate
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>); the split at the
/// point and the sign's byte are what DynamoDB was measured to do by the authors of dynoxide.
pub(crate) fn size(number: &str) -> usize {
    let Decimal { negative, digits, point } = Decimal::parse(number);
    let integer = usize::try_from(point).unwrap_or(0).min(digits.len());
    let fraction = digits.len() - integer;
    integer.div_ceil(2) + fraction.div_ceil(2) + 1 + usize::from(negative && !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_plain_decimal_text_of_the_same_value() {
        for (json, plain) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000e999999999999999999999", "0"),
            ("42", "42"),
            ("-42", "-42"),
            ("1.50", "1.5"),
            ("0.1", "0.1"),
            ("-0.001", "-0.001"),
            ("100", "100"),
            ("1e20", "100000000000000000000"),
            ("1E+2", "100"),
            ("12.34e1", "123.4"),
            ("12.34e2", "1234"),
            ("12.34e-3", "0.01234"),
            ("12345678901234567890.5", "12345678901234567890.5"),
            ("0.00001e5", "1"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(canonical(json).as_deref(), Ok(plain), "{json}");
        }
    }

    #[test]
    fn the_limits_are_those_of_dynamodb() {
        let nines = "9".repeat(38);
        assert_eq!(canonical(&format!("{nines}e88")), Ok(format!("{nines}{}", "0".repeat(88))));
        assert_eq!(canonical("1e-130"), Ok(format!("0.{}1", "0".repeat(129))));
        assert_eq!(canonical(&format!("1{}", "0".repeat(125))), Ok(format!("1{}", "0".repeat(125))));

        assert_eq!(canonical(&format!("{nines}9")), Err(NumberError::TooPrecise(39)));
        assert_eq!(canonical(&format!("{nines}.5")), Err(NumberError::TooPrecise(39)));
        for json in
            ["1e126", "-1e126", "9e-131", "1e9223372036854775807", "1e99999999999999999999", "1e-99999999999999999999"]
        {
            assert_eq!(canonical(json), Err(NumberError::OutOfRange), "{json}");
        }
        assert_eq!(canonical(&format!("0.{}1", "0".repeat(130))), Err(NumberError::OutOfRange));
    }

    #[test]
    fn a_number_is_sized_as_dynamodb_sizes_it() {
        for (number, bytes) in [
            ("0", 1),
            ("-0", 1),
            ("1", 2),
            ("12", 2),
            ("123", 3),
            ("100", 2),
            ("1010", 3),
            ("-42", 3),
            ("1.5", 3),
            ("0.15", 2),
            ("3.14159", 5),
            ("100.5", 4),
            ("1E125", 2),
            ("12345678901234567890123456789012345678", 20),
        ] {
            assert_eq!(size(number), bytes, "{number}");
        }
    }
}
