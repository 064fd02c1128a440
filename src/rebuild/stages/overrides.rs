//! Overrides: a Dockerfile and a recipe's deviations from it → the instructions to follow.

use crate::{
    rebuild::{
        Stop,
        dockerfile::{self, Dockerfile, Instruction},
    },
    recipe::Override,
};

/// Puts every override in the place of its instruction, one after the other.
///
/// What takes an instruction's place has its line. Fails where an override fits
/// no instruction or several: then it is for another Dockerfile.
pub(super) fn apply(
    file: Dockerfile,
    path: &str,
    overrides: &[Override],
) -> Result<Dockerfile, Stop> {
    let Dockerfile {
        escape,
        mut instructions,
    } = file;
    for each in overrides {
        let named = |problem: String| {
            Stop::failed(format!("the override {:?} {problem}", each.instruction)).at(path)
        };
        let fitting: Vec<usize> = instructions
            .iter()
            .enumerate()
            .filter(|(_, instruction)| fits(each, instruction))
            .map(|(index, _)| index)
            .collect();
        let index = match fitting[..] {
            [index] => index,
            [] => return Err(named("fits no instruction".to_owned())),
            _ => {
                let lines: Vec<String> = fitting
                    .iter()
                    .map(|&index| instructions[index].line.to_string())
                    .collect();
                return Err(named(format!(
                    "fits the instructions of the lines {}, and must fit one",
                    lines.join(", ")
                )));
            }
        };
        let line = instructions[index].line;
        let text = text(each, &instructions[index]).map_err(named)?;
        let replacement = match text {
            None => Vec::new(),
            Some(text) => dockerfile::parse_part(&text, escape).map_err(|error| {
                named(format!(
                    "leads to what Docker would not accept: line {}: {}",
                    error.line, error.problem
                ))
            })?,
        };
        let replacement = replacement.into_iter().map(|instruction| Instruction {
            line,
            ..instruction
        });
        instructions.splice(index..=index, replacement);
    }
    Ok(Dockerfile {
        escape,
        instructions,
    })
}

fn fits(each: &Override, instruction: &Instruction) -> bool {
    instruction.text.contains(&each.instruction) || instruction.raw.contains(&each.instruction)
}

/// Returns the text in the place of an instruction, `None` where it is left out.
fn text(each: &Override, instruction: &Instruction) -> Result<Option<String>, String> {
    if let Some(replacement) = &each.replacement {
        if !each.edits.is_empty() {
            return Err("both replaces the instruction and edits it".to_owned());
        }
        return Ok(Some(replacement.clone()));
    }
    if each.edits.is_empty() {
        return Ok(None);
    }
    let mut text = instruction.raw.clone();
    for edit in &each.edits {
        match text.matches(&edit.replace).count() {
            1 => text = text.replace(&edit.replace, &edit.with),
            0 => return Err(format!("edits {:?}, which is not there", edit.replace)),
            count => {
                return Err(format!(
                    "edits {:?}, which is there {count} times",
                    edit.replace
                ));
            }
        }
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Edit;

    const FILE: &str = "FROM a\nRUN one \\\n# a comment\n\t&& two; \\\n\tthree\nRUN four\nUSER u\n";

    fn an_override(
        instruction: &str,
        replacement: Option<&str>,
        edits: &[(&str, &str)],
    ) -> Override {
        Override {
            instruction: instruction.to_owned(),
            replacement: replacement.map(str::to_owned),
            edits: edits
                .iter()
                .map(|(replace, with)| Edit {
                    replace: (*replace).to_owned(),
                    with: (*with).to_owned(),
                })
                .collect(),
            reason: "a test".to_owned(),
            skips: None,
        }
    }

    fn applied(overrides: &[Override]) -> Result<Vec<String>, String> {
        let file = dockerfile::parse(FILE).unwrap();
        match apply(file, "Dockerfile", overrides) {
            Ok(file) => Ok(file
                .instructions
                .into_iter()
                .map(|instruction| format!("{} {}", instruction.line, instruction.text))
                .collect()),
            Err(Stop::Failed(failure)) => Err(format!("{}: {}", failure.step, failure.problem)),
            Err(Stop::Error(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn an_instruction_is_left_out_replaced_or_edited() {
        let cases = [
            (
                "left out",
                an_override("four", None, &[]),
                &["1 FROM a", "2 RUN one \t&& two; \tthree", "7 USER u"][..],
            ),
            (
                "replaced",
                an_override("RUN four", Some("ENV x=1\nRUN 4 \\\n 5"), &[]),
                &[
                    "1 FROM a",
                    "2 RUN one \t&& two; \tthree",
                    "6 ENV x=1",
                    "6 RUN 4  5",
                    "7 USER u",
                ],
            ),
            (
                "edited within lines that are continued",
                an_override("two", None, &[("two; ", ""), ("three", "3")]),
                &["1 FROM a", "2 RUN one \t&& \t3", "6 RUN four", "7 USER u"],
            ),
        ];
        for (case, each, expected) in cases {
            assert_eq!(applied(&[each]).unwrap(), expected, "{case}");
        }
    }

    /// As in `Dockerfile.builder` of docker-library/busybox, shortened.
    const BUILDER: &str = r#"FROM amd64/debian:trixie-slim

RUN set -eux; \
	apt-get install --update -y \
		bzip2 \
	; \
	apt-get dist-clean

# pub   1024D/ACC9965B 2006-12-12
RUN mkdir -p ~/.gnupg && gpg --batch --keyserver keyserver.example.org --recv-keys C9E9416F

ENV BUSYBOX_VERSION 1.37.0

RUN set -eux; \
	tarball="busybox-${BUSYBOX_VERSION}.tar.bz2"; \
	curl -fL -o busybox.tar.bz2.sig "https://busybox.net/downloads/$tarball.sig"; \
	curl -fL -o busybox.tar.bz2 "https://busybox.net/downloads/$tarball"; \
	gpg --batch --verify busybox.tar.bz2.sig busybox.tar.bz2; \
# Alpine... 😅
	mkdir -p /usr/src; \
	\
# save the tarball's filesystem timestamp persistently
	tar -xf busybox.tar.bz2

# test and make sure DNS works too
RUN set -eux; \
	chroot rootfs /bin/sh -xec 'nslookup google.com'; \
	rm rootfs/etc/resolv.conf
"#;

    #[test]
    fn what_asks_for_the_network_is_taken_out_of_a_real_build() {
        let file = dockerfile::parse(BUILDER).unwrap();
        let overrides = [
            an_override("apt-get install --update", None, &[]),
            an_override("gpg --batch --keyserver", None, &[]),
            an_override(
                "curl -fL -o busybox.tar.bz2.sig",
                None,
                &[
                    (
                        "\tcurl -fL -o busybox.tar.bz2.sig \"https://busybox.net/downloads/$tarball.sig\"; \\\n",
                        "",
                    ),
                    (
                        "gpg --batch --verify busybox.tar.bz2.sig busybox.tar.bz2; ",
                        "",
                    ),
                ],
            ),
            an_override("nslookup", None, &[]),
        ];
        let Ok(file) = apply(file, "Dockerfile.builder", &overrides) else {
            panic!("they should fit");
        };
        let texts: Vec<&str> = file
            .instructions
            .iter()
            .map(|instruction| instruction.text.as_str())
            .collect();
        assert_eq!(
            texts,
            [
                "FROM amd64/debian:trixie-slim",
                "ENV BUSYBOX_VERSION 1.37.0",
                "RUN set -eux; \ttarball=\"busybox-${BUSYBOX_VERSION}.tar.bz2\"; \
                 \tcurl -fL -o busybox.tar.bz2 \"https://busybox.net/downloads/$tarball\"; \
                 \t\tmkdir -p /usr/src; \t\ttar -xf busybox.tar.bz2",
            ]
        );
    }

    #[test]
    fn an_override_that_does_not_fit_is_named() {
        let cases = [
            (
                an_override("five", None, &[]),
                "Dockerfile: the override \"five\" fits no instruction",
            ),
            (
                an_override("RUN", None, &[]),
                "Dockerfile: the override \"RUN\" fits the instructions of the lines 2, 6, and must fit one",
            ),
            (
                an_override("four", None, &[("5", "")]),
                "Dockerfile: the override \"four\" edits \"5\", which is not there",
            ),
            (
                an_override("four", None, &[("R", "")]),
                "Dockerfile: the override \"four\" leads to what Docker would not accept: line 1: unknown instruction: UN",
            ),
            (
                an_override("one", None, &[("t", "")]),
                "Dockerfile: the override \"one\" edits \"t\", which is there 3 times",
            ),
            (
                an_override("four", Some("USER x"), &[("5", "")]),
                "Dockerfile: the override \"four\" both replaces the instruction and edits it",
            ),
        ];
        for (each, expected) in cases {
            assert_eq!(applied(&[each]).unwrap_err(), expected);
        }
    }
}
