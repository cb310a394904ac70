//! JSON numbers as DynamoDB stores them: exact decimal text that is never converted to a float.

use thiserror::Error;

/// The maximum number of significant digits that DynamoDB stores
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-data-types-number>).
const MAX_DIGITS: usize = 38;

/// The maximum size of a number in an item, in bytes.
const MAX_BYTES: usize = 21;

/// The allowed powers of ten of a number's first significant digit (same page).
const MAGNITUDES: std::ops::RangeInclusive<i64> = -130..=125;

/// The maximum number of zeros that are written out to avoid an exponent, as for `1e20`. If all
/// zeros were written out, a user of 400 KB could be too large for a response, because DynamoDB
/// stores `1e125` in two bytes.
const PLAIN_ZEROS: usize = 20;

/// Why DynamoDB cannot store a number.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum NumberError {
    #[error("a number with {0} significant digits, but may have at most {MAX_DIGITS}")]
    TooPrecise(usize),
    #[error(
        "a number out of range: it must be zero, or have a magnitude from 1E-130 to \
         9.9999999999999999999999999999999999999E+125"
    )]
    OutOfRange,
}

/// A number's sign, its significant digits without zeros at either end, and the position of the
/// decimal point. The value is `0.digits` times ten to the power of `point`. Zero has no digits.
struct Decimal {
    negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    /// Parses text that follows JSON's grammar for numbers (RFC 8259, section 6).
    ///
    /// # Errors
    ///
    /// [`NumberError::TooPrecise`].
    fn parse(json: &str) -> Result<Self, NumberError> {
        let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
        // An exponent beyond 64 bits is also beyond every limit: only its sign matters.
        let out_of_range = if exponent.starts_with('-') {
            i64::MIN
        } else {
            i64::MAX
        };
        let exponent: i64 = exponent.parse().unwrap_or(out_of_range);
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));

        let digits = integer.chars().chain(fraction.chars());
        let leading_zeros = digits.clone().take_while(|digit| *digit == '0').count();
        let trailing_zeros = digits
            .clone()
            .rev()
            .take_while(|digit| *digit == '0')
            .count();
        let significant =
            (integer.len() + fraction.len()).saturating_sub(leading_zeros + trailing_zeros);
        if significant > MAX_DIGITS {
            return Err(NumberError::TooPrecise(significant));
        }
        let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(Self {
            negative: unsigned.len() < mantissa.len(),
            digits: digits.skip(leading_zeros).take(significant).collect(),
            point: exponent.saturating_add(length(integer.len()) - length(leading_zeros)),
        })
    }
}

/// Returns a number as this service writes it: without superfluous zeros, and in plain decimal
/// notation unless that needs more than 20 zeros.
///
/// # Errors
///
/// If DynamoDB cannot store the number.
pub(crate) fn canonical(json: &str) -> Result<String, NumberError> {
    let Decimal {
        negative,
        digits,
        point,
    } = Decimal::parse(json)?;
    if digits.is_empty() {
        return Ok("0".to_owned());
    }
    let exponent = point.saturating_sub(1);
    if !MAGNITUDES.contains(&exponent) {
        return Err(NumberError::OutOfRange);
    }

    let sign = if negative { "-" } else { "" };
    let leading_zeros = usize::try_from(-point).unwrap_or(0);
    let integer = usize::try_from(point).unwrap_or(0);
    Ok(
        if leading_zeros.max(integer.saturating_sub(digits.len())) > PLAIN_ZEROS {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{exponent}")
        } else if integer == 0 {
            format!("{sign}0.{:0<leading_zeros$}{digits}", "")
        } else if integer < digits.len() {
            format!("{sign}{}.{}", &digits[..integer], &digits[integer..])
        } else {
            format!("{sign}{digits:0<integer$}")
        },
    )
}

/// Returns the size of a [`canonical`] number in an item, in bytes: one for every two significant
/// digits on either side of the decimal point, one more, and one for a minus sign, but at most 21
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number>).
///
/// AWS documents this size as approximate
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
/// The authors of dynoxide measured that the digits on each side of the point are rounded up
/// separately, and that a minus sign takes a byte.
pub(crate) fn size(number: &str) -> usize {
    let Ok(Decimal {
        negative,
        digits,
        point,
    }) = Decimal::parse(number)
    else {
        return 0;
    };
    let integer = usize::try_from(point).unwrap_or(0).min(digits.len());
    let fraction = digits.len() - integer;
    let sign = usize::from(negative && !digits.is_empty());
    (integer.div_ceil(2) + fraction.div_ceil(2) + 1 + sign).min(MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_canonical_text_with_the_same_value() {
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
            ("1e21", "1e21"),
            ("-1200e22", "-1.2e25"),
            ("0.1e-20", "0.000000000000000000001"),
            ("0.12e-21", "1.2e-22"),
            (
                "99999999999999999999999999999999999999",
                "99999999999999999999999999999999999999",
            ),
        ] {
            assert_eq!(canonical(json).as_deref(), Ok(plain), "{json}");
        }
    }

    #[test]
    fn the_limits_are_those_of_dynamodb() {
        let nines = "9".repeat(38);
        assert_eq!(
            canonical(&format!("{nines}e88")),
            Ok(format!("9.{}e125", "9".repeat(37)))
        );
        assert_eq!(
            canonical(&format!("0.{}1", "0".repeat(129))),
            Ok("1e-130".to_owned())
        );
        assert_eq!(
            canonical(&format!("1{}", "0".repeat(125))),
            Ok("1e125".to_owned())
        );

        assert_eq!(
            canonical(&format!("{nines}9")),
            Err(NumberError::TooPrecise(39))
        );
        assert_eq!(
            canonical(&format!("{nines}.5")),
            Err(NumberError::TooPrecise(39))
        );
        for json in [
            "1e126",
            "-1e126",
            "9e-131",
            "1e9223372036854775807",
            "1e99999999999999999999",
            "1e-99999999999999999999",
        ] {
            assert_eq!(canonical(json), Err(NumberError::OutOfRange), "{json}");
        }
        assert_eq!(
            canonical(&format!("0.{}1", "0".repeat(130))),
            Err(NumberError::OutOfRange)
        );
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
            ("-12345678901234567890123456789012345678", 21),
            ("-9.9999999999999999999999999999999999999", 21),
        ] {
            assert_eq!(size(number), bytes, "{number}");
        }
    }
}
