//! Steps: which of the steps that an image's history tells may have made which layer.
//!
//! A history counts layers, it does not name them. Where it counts as many as there
//! are, each has its step; but builders that write several steps into one layer mark
//! all steps but the last as having made none.

use std::mem;

use crate::image::config::History;

/// Instructions that change no file of an image; `WORKDIR` makes an empty directory at most.
///
/// Source: Dockerfile reference; Docker's classic builder writes them behind `#(nop)`.
const WITHOUT_FILES: [&str; 15] = [
    "ARG",
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a history says of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Made {
    /// The step that made it; `None` where the history does not tell it from others.
    pub(super) instruction: Option<String>,
    /// The steps that may each have made some of it, where there are several.
    pub(super) steps: Vec<String>,
}

/// Returns what a history says of each layer, base first.
///
/// buildah (without `--layers`) and `docker build --squash` give all steps since the
/// base one layer, which the last one stands for: that one is not said to have made it.
pub(super) fn made(history: Vec<History>, layers: usize) -> Vec<Made> {
    let counted = history.iter().filter(|step| !step.empty_layer).count();
    if counted != layers {
        let mut made = vec![Made::default(); layers];
        // All was put into one layer, however many the history counts.
        if let [only] = &mut made[..] {
            let steps = history.into_iter().filter(|step| !step.empty_layer);
            only.steps = steps.filter_map(|step| step.created_by).collect();
        }
        return made;
    }
    let mut made = Vec::new();
    let mut before = Vec::new();
    for step in history {
        if step.empty_layer {
            before.extend(step.created_by.filter(|step| changes_files(step)));
            continue;
        }
        made.push(if before.is_empty() {
            Made {
                instruction: step.created_by,
                steps: Vec::new(),
            }
        } else {
            before.extend(step.created_by);
            Made {
                instruction: None,
                steps: mem::take(&mut before),
            }
        });
    }
    made
}

/// Returns whether a step may have changed files; what is not known may.
fn changes_files(step: &str) -> bool {
    let (_, instruction) = step.split_once("#(nop)").unwrap_or(("", step));
    let word = instruction.split_whitespace().next();
    word.is_some_and(|word| !WITHOUT_FILES.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a history: a step a line, those after `-` without a layer.
    fn history(steps: &[&str]) -> Vec<History> {
        let step = |text: &&str| {
            let (empty_layer, text) = match text.strip_prefix("- ") {
                Some(text) => (true, text),
                None => (false, *text),
            };
            History {
                created_by: (!text.is_empty()).then(|| text.to_owned()),
                empty_layer,
                ..History::default()
            }
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn a_layer_has_the_step_that_alone_may_have_made_it() {
        let one = |step: &str| Made {
            instruction: Some(step.to_owned()),
            steps: Vec::new(),
        };
        let several = |steps: &[&str]| Made {
            instruction: None,
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
        };
        let unknown = Made::default;
        let cases: [(&str, &[&str], usize, Vec<Made>); 8] = [
            (
                "docker",
                &[
                    "/bin/sh -c #(nop) ADD file:1 in / ",
                    "- /bin/sh -c #(nop)  CMD [\"bash\"]",
                    "RUN /bin/sh -c make # buildkit",
                    "- WORKDIR /app",
                ],
                2,
                vec![
                    one("/bin/sh -c #(nop) ADD file:1 in / "),
                    one("RUN /bin/sh -c make # buildkit"),
                ],
            ),
            (
                "buildah",
                &[
                    "base",
                    "- /bin/sh -c apt-get install x",
                    "- /bin/sh -c #(nop) COPY file:1 in / ",
                    "- /bin/sh -c #(nop) ENV a=b",
                    "/bin/sh -c #(nop) CMD [\"x\"]",
                ],
                2,
                vec![
                    one("base"),
                    several(&[
                        "/bin/sh -c apt-get install x",
                        "/bin/sh -c #(nop) COPY file:1 in / ",
                        "/bin/sh -c #(nop) CMD [\"x\"]",
                    ]),
                ],
            ),
            (
                "docker build --squash",
                &["base", "- RUN make", ""],
                2,
                vec![one("base"), several(&["RUN make"])],
            ),
            (
                "in one layer, the steps counting one each",
                &["ADD a /", "- ENV a=b", "RUN b"],
                1,
                vec![several(&["ADD a /", "RUN b"])],
            ),
            (
                "steps without a layer",
                &["ADD a /", "RUN b", "RUN c"],
                2,
                vec![unknown(), unknown()],
            ),
            ("layers without a step", &["ADD a /"], 2, vec![unknown(); 2]),
            ("no history", &[], 1, vec![unknown()]),
            ("a step without words", &[""], 1, vec![unknown()]),
        ];
        for (case, steps, layers, expected) in cases {
            assert_eq!(made(history(steps), layers), expected, "{case}");
        }
    }
}
