//! Paths as Go's `path.Clean` and `path.Join` make them.

/// Returns the shortest path that names the same, by its text alone; `.` for nothing.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => match names.last() {
                Some(&last) if last != ".." => drop(names.pop()),
                _ if rooted => {}
                _ => names.push(".."),
            },
            name => names.push(name),
        }
    }
    match (rooted, names.is_empty()) {
        (true, _) => format!("/{}", names.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => names.join("/"),
    }
}

/// Returns `path`, or where it is not absolute, `path` inside `directory`; cleaned.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        clean(path)
    } else {
        clean(&format!("/{directory}/{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_in_go() {
        let cases = [
            ("", "."),
            ("abc", "abc"),
            ("/", "/"),
            ("abc//def//ghi/", "abc/def/ghi"),
            ("./abc/./def", "abc/def"),
            ("abc/def/../ghi", "abc/ghi"),
            ("abc/../..", ".."),
            ("/../abc", "/abc"),
            ("../../abc", "../../abc"),
        ];
        for (path, cleaned) in cases {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
