//! PAX extended headers: records of keyword and value.

use crate::image::Timestamp;

/// A keyword and its value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits an extended header into its records.
///
/// Fails, as Go does, where a length is wrong or a keyword or name has a zero in
/// it; the error is the offset of the bad record.
///
/// Source: POSIX pax "pax Extended Header".
pub(super) fn records(content: &[u8]) -> Result<Vec<Record<'_>>, usize> {
    let mut records = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (record, after) = first(rest).ok_or(content.len() - rest.len())?;
        records.push(record);
        rest = after;
    }
    Ok(records)
}

/// Splits the first record off.
fn first(content: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = content.iter().position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&content[..space])?).ok()?;
    if length > content.len() {
        return None;
    }
    let (record, rest) = content.split_at(length);
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let zero_free = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    (!key.is_empty() && !zero_free.contains(&0)).then_some(((key, value), rest))
}

/// Reads a decimal number that may have a sign.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a time: seconds, and maybe a point and a fraction, cut at nanoseconds.
pub(super) fn time(text: &[u8]) -> Option<Timestamp> {
    const DIGITS: usize = 9;
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = point.map_or((text, &b""[..]), |point| {
        (&text[..point], &text[point + 1..])
    });
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..DIGITS).fold(0, |value, position| {
        let digit = fraction.get(position).map_or(0, |digit| digit - b'0');
        value * 10 + u32::from(digit)
    });
    if nanoseconds == 0 || !whole.starts_with(b"-") {
        return Some(Timestamp {
            seconds,
            nanoseconds,
        });
    }
    Some(Timestamp {
        seconds: seconds.checked_sub(1)?,
        nanoseconds: 1_000_000_000 - nanoseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_must_be_as_long_as_it_says() {
        assert_eq!(
            records(b"12 path=a/b\n9 gid=05\n8 a=b=c\n"),
            Ok(vec![
                (&b"path"[..], &b"a/b"[..]),
                (b"gid", b"05"),
                (b"a", b"b=c")
            ])
        );
        let cases: [(&[u8], usize); 11] = [
            (b"13 path=a/b\n", 0),
            (b"11 path=a/b\n", 0),
            (b"12 path=a/b\n8", 12),
            (b"0 a=b\n", 0),
            (b"-6 a=b\n", 0),
            (b"99999999999999999999 a=b\n", 0),
            (b"6 =bc\n", 0),
            (b"6 abc\n", 0),
            (b"9 path=\0\n", 0),
            (b"7 \0a=b\n", 0),
            (b"4 a=\n", 0),
        ];
        for (content, offset) in cases {
            assert_eq!(records(content), Err(offset), "{content:?}");
        }
        assert_eq!(records(b"7 a=\0b\n"), Ok(vec![(&b"a"[..], &b"\0b"[..])]));
    }

    #[test]
    fn a_time_may_be_fractional_and_negative() {
        let time_of = |seconds, nanoseconds| {
            Some(Timestamp {
                seconds,
                nanoseconds,
            })
        };
        let cases: [(&[u8], Option<Timestamp>); 10] = [
            (b"1350244992", time_of(1_350_244_992, 0)),
            (b"1350244992.3", time_of(1_350_244_992, 300_000_000)),
            (b"1.0000000019", time_of(1, 1)),
            (b"-1.5", time_of(-2, 500_000_000)),
            (b"-0.25", time_of(-1, 750_000_000)),
            (b"-7", time_of(-7, 0)),
            (b"7.", time_of(7, 0)),
            (b".5", None),
            (b"1.-5", None),
            (b"-9223372036854775808.5", None),
        ];
        for (text, time_read) in cases {
            assert_eq!(time(text), time_read, "{text:?}");
        }
    }
}
