//! Go's text forms: what `fmt` makes of lists, durations and health checks in a history.

use crate::dialect::{Builder, json::Healthcheck};

/// Formats a list as `%v` does.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// Formats a list as `%q` does.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    list(&words)
}

/// Formats a text as `%q` does.
pub(super) fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => result.extend(['\\', character]),
            '\x07' => result.push_str("\\a"),
            '\x08' => result.push_str("\\b"),
            '\x0c' => result.push_str("\\f"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            '\x0b' => result.push_str("\\v"),
            _ => {
                let code = u32::from(character);
                let printable = !character.is_control()
                    && (character == ' ' || !character.is_whitespace())
                    && !character.escape_debug().to_string().starts_with("\\u");
                let written = match code {
                    _ if printable => {
                        result.push(character);
                        Ok(())
                    }
                    0..0x80 => write!(result, "\\x{code:02x}"),
                    0x80..0x1_0000 => write!(result, "\\u{code:04x}"),
                    _ => write!(result, "\\U{code:08x}"),
                };
                written.expect("writing to a string cannot fail");
            }
        }
    }
    result.push('"');
    result
}

/// Formats nanoseconds as `time.Duration` does.
fn duration(nanoseconds: i64) -> String {
    let (sign, rest) = if nanoseconds < 0 {
        ("-", nanoseconds.unsigned_abs())
    } else {
        ("", nanoseconds.unsigned_abs())
    };
    let fraction = |whole: u64, part: u64, digits: usize| {
        let text = format!("{whole}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match rest {
        0 => "0s".to_owned(),
        1..1_000 => format!("{rest}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(rest / 1_000, rest % 1_000, 3)),
        1_000_000..1_000_000_000 => {
            format!("{}ms", fraction(rest / 1_000_000, rest % 1_000_000, 6))
        }
        _ => {
            let seconds = rest / 1_000_000_000;
            let last = fraction(seconds % 60, rest % 1_000_000_000, 9);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{last}s"),
                (0, minutes) => format!("{minutes}m{last}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{last}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Formats a character as `%q` does a number.
fn quoted_rune(number: i64) -> String {
    let rune = u32::try_from(number).ok().and_then(char::from_u32);
    match rune.unwrap_or('\u{fffd}') {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        rune => format!("'{}'", quoted(&rune.to_string()).trim_matches('"')),
    }
}

/// Formats a set of ports as `%v` does a map.
pub(super) fn port_map(ports: &[String]) -> String {
    let mut ports: Vec<String> = ports.iter().map(|port| format!("{port}:{{}}")).collect();
    ports.sort();
    ports.dedup();
    format!("map{}", list(&ports))
}

/// Formats a health check as the builders' histories have it: the structure with `%q`.
///
/// `BuildKit` has the start interval in it since 2023.
pub(super) fn healthcheck(check: &Healthcheck, builder: Builder) -> String {
    let mut times = vec![check.interval, check.timeout, check.start_period];
    if builder == Builder::BuildKit {
        times.push(check.start_interval);
    }
    let times: Vec<String> = times.into_iter().map(duration).collect();
    let times = quoted_list(&times);
    format!(
        "&{{{} {} {}}}",
        quoted_list(&check.test),
        times.trim_matches(['[', ']']),
        quoted_rune(check.retries)
    )
}

/// Reads one word of EXPOSE: `[[ip:]host:]port[-port][/protocol]` → `port/protocol` each.
pub(super) fn ports(word: &str) -> Result<Vec<String>, String> {
    let mut parts: Vec<&str> = word.rsplitn(3, ':').collect();
    parts.reverse();
    let (ip, host, container) = match parts[..] {
        [container] => ("", "", container),
        [host, container] => ("", host, container),
        [ip, host, container] => (ip, host, container),
        _ => return Err(format!("{word:?} is not a port")),
    };
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(format!("{other:?} is not a protocol (tcp, udp or sctp)")),
    };
    let ip = ip
        .strip_prefix('[')
        .map_or(ip, |ip| ip.trim_end_matches(']'));
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("{ip:?} is not an IP address"));
    }
    let (first, last) = port_range(range)?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host)?;
        if host_last - host_first != last - first && first != last {
            return Err(format!(
                "{range} and {host} are ranges of different lengths"
            ));
        }
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is not a port number"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(format!("{text:?} is not a range of ports"));
    }
    Ok((first, last))
}

/// Returns whether Docker takes this for a signal: a number, or a name with or without `SIG`.
pub(super) fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 36] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX",
    ];
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |prefix: &str, most: u8| {
        name.strip_prefix(prefix)
            .and_then(|offset| offset.parse::<u8>().ok())
            .is_some_and(|offset| (1..=most).contains(&offset))
    };
    NAMES.contains(&name) || offset("RTMIN+", 15) || offset("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_formatted_as_go_formats_them() {
        let words = ["/bin/sh", "-c", "echo \"a\\b\"\n\u{1}é"].map(str::to_owned);
        assert_eq!(
            quoted_list(&words),
            r#"["/bin/sh" "-c" "echo \"a\\b\"\n\x01é"]"#
        );
        let durations = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (nanoseconds, text) in durations {
            assert_eq!(duration(nanoseconds), text);
        }
        let mut check = Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), "kong health".to_owned()],
            interval: 60_000_000_000,
            timeout: 10_000_000_000,
            start_period: 0,
            start_interval: 0,
            retries: 10,
        };
        // As in the published histories of docker.io/library/kong and plone.
        assert_eq!(
            healthcheck(&check, Builder::BuildKit),
            r#"&{["CMD-SHELL" "kong health"] "1m0s" "10s" "0s" "0s" '\n'}"#
        );
        check.retries = 0;
        assert_eq!(
            healthcheck(&check, Builder::Classic),
            r#"&{["CMD-SHELL" "kong health"] "1m0s" "10s" "0s" '\x00'}"#
        );
        assert_eq!(quoted_rune(39), r"'\''");
        let ports = ["8094/tcp", "8092/udp"].map(str::to_owned);
        assert_eq!(port_map(&ports), "map[8092/udp:{} 8094/tcp:{}]");
    }

    #[test]
    fn ports_are_read_with_ranges_protocols_and_host_parts() {
        let cases: [(&str, Option<&[&str]>); 8] = [
            ("80", Some(&["80/tcp"])),
            ("53/UDP", Some(&["53/udp"])),
            ("8000-8002", Some(&["8000/tcp", "8001/tcp", "8002/tcp"])),
            ("127.0.0.1:8080:80", Some(&["80/tcp"])),
            ("[::1]:8080:80", Some(&["80/tcp"])),
            ("80/icmp", None),
            ("70000", None),
            ("9-8", None),
        ];
        for (word, expected) in cases {
            let expected =
                expected.map(|ports| ports.iter().map(|&port| port.to_owned()).collect());
            assert_eq!(ports(word).ok(), expected, "{word}");
        }
    }

    #[test]
    fn signals_are_numbers_and_names() {
        for signal in ["9", "SIGTERM", "term", "SIGRTMIN+3", "RTMAX-14"] {
            assert!(is_signal(signal), "{signal}");
        }
        for signal in ["0", "SIG", "SIGFOO", "RTMIN+16"] {
            assert!(!is_signal(signal), "{signal}");
        }
    }
}
