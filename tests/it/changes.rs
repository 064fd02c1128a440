//! No change goes unseen: random single changes to images, each of which must be found,
//! named, and judged as the reviewed table says.
//!
//! `golden/changes/table.md` is that table; it is read here, so that what is documented
//! is what is tested. `REPROVE_CHANGES=10000` makes so many changes instead of a few
//! hundred, `REPROVE_CHANGES_SEED=n` makes only the one of that seed.

pub(crate) mod archive;
mod documents;
mod entries;
pub(crate) mod image;
pub(crate) mod json;
mod packing;
pub(crate) mod random;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error as _,
    fmt::Write as _,
    fs,
    path::Path,
};

use jiff::civil::Date;
use reprove::{
    compare::{self, Comparison, Difference, Location, Side},
    explain::{self, Finding},
    image::{self as real, Access, ImageName, Platform, read_layers},
    pair::Pair,
    progress::Silent,
    verdict::{Case, Claim, Evidence, Judgement, Policy, Rules, Verdict, judge},
};

use self::{image::Image, random::Random};
use crate::support::sums::account_closes;

/// Makes a change of one class; `None` where the image has nothing to make it to.
type Maker = fn(&Image, &mut Random) -> Option<Change>;

/// One change to an image, and where it must be found.
pub(crate) struct Change {
    /// What was done, for a person who replays it.
    what: String,
    published: Image,
    /// Changed and not yet sealed.
    rebuilt: Image,
    /// Of each of these sets, some location must be named.
    must: Vec<BTreeSet<String>>,
    /// These locations may be named besides, and no others.
    may: Vec<String>,
    /// The layers that findings may be in.
    layers: BTreeSet<usize>,
    /// Which xattr or record it is, where it is one.
    detail: Option<String>,
    platform: Option<Platform>,
}

impl Change {
    fn new(published: &Image, rebuilt: Image, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            published: published.clone(),
            rebuilt,
            must: Vec::new(),
            may: Vec::new(),
            layers: BTreeSet::new(),
            detail: None,
            platform: Some("linux/amd64".parse().unwrap()),
        }
    }

    /// Says that this location must be named; one that ends in `/*` is named by any below it.
    fn at(self, location: impl Into<String>) -> Self {
        self.at_any([location.into()])
    }

    /// Says that one of these locations must be named.
    fn at_any(mut self, locations: impl IntoIterator<Item = String>) -> Self {
        self.must.push(locations.into_iter().collect());
        self
    }

    fn in_layer(mut self, layer: usize) -> Self {
        self.layers.insert(layer);
        self
    }

    fn detailed(mut self, detail: &str) -> Self {
        self.detail = Some(detail.to_owned());
        self
    }

    /// Returns the change that undoes this one.
    fn swapped(mut self) -> Self {
        std::mem::swap(&mut self.published, &mut self.rebuilt);
        self
    }
}

/// A row of the table.
struct Row {
    /// By policy, the strictest first; `None` where the image must be refused.
    verdicts: Option<[Verdict; 3]>,
    /// What findings must be in, and of which attribute.
    must: Vec<(String, String)>,
    /// What findings may be besides.
    may: Vec<(String, String)>,
}

/// Returns the rows of the table by class.
fn table() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/changes/table.md");
    let text = fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [class, _, bit_for_bit, standard, ignore_times, findings] = cells[..] else {
            panic!("six columns: {line}");
        };
        let verdicts = [bit_for_bit, standard, ignore_times].map(|word| match word {
            "reproduced" => Some(Verdict::Reproduced),
            "not" => Some(Verdict::NotReproduced),
            "refused" => None,
            other => panic!("{other:?} is no verdict: {line}"),
        });
        let verdicts = verdicts.into_iter().collect::<Option<Vec<Verdict>>>();
        let mut row = Row {
            verdicts: verdicts.map(|verdicts| verdicts.try_into().unwrap()),
            must: Vec::new(),
            may: Vec::new(),
        };
        for finding in findings
            .split(',')
            .map(str::trim)
            .filter(|finding| !finding.is_empty())
        {
            let (list, finding) = match finding.strip_suffix('?') {
                Some(finding) => (&mut row.may, finding),
                None => (&mut row.must, finding),
            };
            let (within, attribute) = finding.split_once(' ').unwrap();
            list.push((within.to_owned(), attribute.to_owned()));
        }
        let class = class.trim_matches('`').to_owned();
        assert!(rows.insert(class, row).is_none(), "one row a class: {line}");
    }
    rows
}

/// Returns every class with what makes a change of it.
fn classes() -> Vec<(&'static str, Option<Maker>)> {
    let makers = [entries::CLASSES, packing::CLASSES, documents::CLASSES]
        .into_iter()
        .flatten();
    let mut all: Vec<_> = makers.map(|&(class, maker)| (class, Some(maker))).collect();
    all.extend(
        documents::field_classes()
            .into_iter()
            .map(|class| (class, None)),
    );
    all
}

fn make(class: &str, maker: Option<Maker>, image: &Image, random: &mut Random) -> Option<Change> {
    match maker {
        Some(maker) => maker(image, random),
        None => documents::field(class, image, random),
    }
}

/// Compares two layouts as `reprove diff` does.
pub(crate) fn compared(
    sides: Pair<&Path>,
    platform: Option<&Platform>,
) -> Result<Comparison, real::Error> {
    let names = sides.map(|directory| format!("oci:{}", directory.display()));
    compared_names(&names, platform)
}

/// Compares two images by their names, and asserts that all of the first is accounted for.
pub(crate) fn compared_names(
    names: &Pair<String>,
    platform: Option<&Platform>,
) -> Result<Comparison, real::Error> {
    let resolve = |name: &str| {
        let name: ImageName = name.parse().unwrap();
        real::resolve(&name, platform, &Access::default(), &Silent)
    };
    let images = Pair::new(resolve(&names.published)?, resolve(&names.rebuilt)?);
    let layers = read_layers(&[&*images.published, &*images.rebuilt], &Silent)?;
    let side = |number: usize| {
        let image = if number == 0 {
            &images.published
        } else {
            &images.rebuilt
        };
        Side {
            index: image.index(),
            manifest: image.manifest(),
            config: image.config(),
            layers: &layers[number],
        }
    };
    let comparison = compare::compare(Pair::new(side(0), side(1))).unwrap();
    let findings = found(&comparison);
    let acceptances = judged(&comparison, &findings, Rules::Standard).acceptances;
    account_closes(&layers[0], &comparison, &findings, &acceptances);
    Ok(comparison)
}

/// Returns the verdicts under the three built-in policies.
pub(crate) fn verdicts(comparison: &Comparison) -> [Verdict; 3] {
    let findings = found(comparison);
    Rules::ALL.map(|rules| judged(comparison, &findings, rules).verdict)
}

fn found(comparison: &Comparison) -> Vec<Finding> {
    explain::findings(comparison.differences.clone(), &explain::Known::default())
}

fn judged(comparison: &Comparison, findings: &[Finding], rules: Rules) -> Judgement {
    let today = Date::constant(2026, 11, 23);
    let policy = Policy::builtin(rules);
    let claims: Vec<Claim<'_>> = findings.iter().map(Claim::of).collect();
    let case = Case {
        equality: comparison.equality.strongest(),
        config: comparison.config,
        claims: &claims,
        obstacles: &[],
        evidence: Evidence {
            source: None,
            pins: &[],
            origin: &BTreeMap::new(),
            freshness: None,
        },
    };
    judge(&case, &policy, today)
}

fn within(location: &Location) -> &'static str {
    match location {
        Location::Index { .. } => "index",
        Location::Manifest { .. } => "manifest",
        Location::Config { .. } => "config",
        Location::Layer { .. } => "layer",
        Location::Entry { .. } => "entry",
    }
}

fn layers_of(location: &Location) -> Vec<usize> {
    match location {
        Location::Layer { layer } | Location::Entry { layer, .. } => {
            [layer.published, layer.rebuilt]
                .into_iter()
                .flatten()
                .collect()
        }
        Location::Index { .. } | Location::Manifest { .. } | Location::Config { .. } => Vec::new(),
    }
}

/// Returns whether a location is the one wanted, or below one that ends in `/*`.
fn fits(wanted: &str, location: &str) -> bool {
    match wanted.strip_suffix("/*") {
        Some(above) => location
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        None => wanted == location,
    }
}

/// Returns a difference as the other order of sides must show it, as text that can be sorted.
fn mirrored(difference: &Difference) -> String {
    let mut mirror = difference.clone();
    mirror.values = mirror.values.swapped();
    if let Location::Layer { layer } | Location::Entry { layer, .. } = &mut mirror.location {
        *layer = layer.swapped();
    }
    format!("{mirror:?}")
}

/// Returns an error with all its sources, as the command line prints it.
pub(crate) fn chain(error: &real::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, ": {error}").unwrap();
        source = error.source();
    }
    text
}

/// Returns all that is wrong with how a change is found.
fn faults(mut change: Change, row: &Row) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let [published, rebuilt, unsealed] =
        ["published", "rebuilt", "unsealed"].map(|name| folder.path().join(name));
    let mut faults = Vec::new();
    change.published.write(&published);
    change.rebuilt.write(&rebuilt);
    let platform = change.platform.as_ref();

    if let Some((written, names)) = change.published.unsealed(&mut change.rebuilt) {
        written.write(&unsealed);
        match compared(Pair::new(&*published, &*unsealed), platform) {
            Ok(_) => faults.push("unsealed, it is not refused".to_owned()),
            Err(error) => {
                let text = chain(&error);
                if !names.iter().any(|name| text.contains(name)) {
                    faults.push(format!(
                        "unsealed, the error names none of {names:?}: {text}"
                    ));
                }
            }
        }
    }
    let comparison = match (
        compared(Pair::new(&*published, &*rebuilt), platform),
        row.verdicts,
    ) {
        (Ok(comparison), Some(_)) => comparison,
        (Err(error), None) => {
            let text = chain(&error);
            if !change
                .must
                .iter()
                .flatten()
                .any(|named| text.contains(&**named))
            {
                faults.push(format!("the error does not name {:?}: {text}", change.must));
            }
            return faults;
        }
        (Ok(comparison), None) => {
            faults.push(format!("it is not refused but {:?}", verdicts(&comparison)));
            return faults;
        }
        (Err(error), Some(_)) => {
            faults.push(format!("it is refused: {}", chain(&error)));
            return faults;
        }
    };

    let judged = verdicts(&comparison);
    if Some(judged) != row.verdicts {
        faults.push(format!(
            "the verdicts are {judged:?}, not {:?}",
            row.verdicts
        ));
    }
    let found = &comparison.differences;
    for location in &change.must {
        let named = |difference: &Difference| {
            let text = difference.location.to_string();
            location.iter().any(|wanted| fits(wanted, &text))
        };
        if !found.iter().any(named) {
            faults.push(format!("nothing is found at {location:?}"));
        }
    }
    for (of, attribute) in &row.must {
        let is = |difference: &Difference| {
            within(&difference.location) == of && difference.attribute.name() == attribute
        };
        if !found.iter().any(is) {
            faults.push(format!("no {attribute} is found in the {of}"));
        }
    }
    for difference in found {
        let text = difference.location.to_string();
        let is_known = |(of, attribute): &(String, String)| {
            within(&difference.location) == of && difference.attribute.name() == attribute
        };
        let is_allowed = change
            .must
            .iter()
            .flatten()
            .chain(&change.may)
            .any(|at| fits(at, &text));
        let detail = difference.attribute.detail();
        if !row.must.iter().chain(&row.may).any(is_known)
            || !is_allowed
            || !layers_of(&difference.location)
                .iter()
                .all(|layer| change.layers.contains(layer))
            || change.detail.is_some() && change.detail != detail
        {
            faults.push(format!("this is found too: {difference:?}"));
        }
        if difference.values.is_equal() {
            faults.push(format!(
                "this has the same value on both sides: {difference:?}"
            ));
        }
    }
    if change.rebuilt.manifest != change.published.manifest
        && comparison.equality.manifest != Some(false)
    {
        faults.push("the manifests are said to be equal".to_owned());
    }

    match compared(Pair::new(&*rebuilt, &*published), platform) {
        Ok(back) => {
            let mut back: Vec<String> = back.differences.iter().map(mirrored).collect();
            let mut there: Vec<String> = found.iter().map(|found| format!("{found:?}")).collect();
            back.sort();
            there.sort();
            if back != there {
                faults.push(format!(
                    "with the sides swapped it is {back:#?} for {there:#?}"
                ));
            }
        }
        Err(error) => faults.push(format!(
            "with the sides swapped it is refused: {}",
            chain(&error)
        )),
    }
    match compared(Pair::new(&*rebuilt, &*rebuilt), platform) {
        Ok(same) if same.differences.is_empty() && verdicts(&same) == [Verdict::Reproduced; 3] => {}
        Ok(same) => faults.push(format!("beside itself it has {:?}", same.differences)),
        Err(error) => faults.push(format!("beside itself it is refused: {}", chain(&error))),
    }
    faults
}

/// How many changes are made where the environment does not say.
const CHANGES: u64 = 600;

#[test]
fn every_class_of_change_is_in_the_table_and_every_row_is_made() {
    let rows: Vec<String> = table().into_keys().collect();
    let mut made: Vec<&str> = classes().into_iter().map(|(class, _)| class).collect();
    made.sort_unstable();
    assert_eq!(rows, made);
}

#[test]
fn no_change_goes_unseen() {
    let table = table();
    let classes = classes();
    let mut synthetic = image::synthetic();
    synthetic.seal();
    let real: Vec<Image> = [image::busybox(), image::alpine()]
        .into_iter()
        .flatten()
        .collect();
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("REPROVE_CHANGES_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("REPROVE_CHANGES").unwrap_or(CHANGES),
    };
    let mut failures = Vec::new();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let mut random = Random::new(seed);
        let (class, maker) = classes[usize::try_from(seed).unwrap() % classes.len()];
        // Real images are large; the synthetic one has what they lack.
        let image = match random.below(12) {
            0 => random.pick(&real).unwrap_or(&synthetic),
            _ => &synthetic,
        };
        let change = make(class, maker, image, &mut random)
            .or_else(|| (0..50).find_map(|_| make(class, maker, &synthetic, &mut random)))
            .unwrap_or_else(|| panic!("{class} can be made to the synthetic image"));
        *made.entry(class).or_default() += 1;
        let what = change.what.clone();
        let faults = faults(change, &table[class]);
        if !faults.is_empty() {
            let list = faults.join("\n  ");
            failures.push(format!(
                "{class} (REPROVE_CHANGES_SEED={seed}), {what}:\n  {list}\n"
            ));
        }
    }
    let total: usize = made.values().sum();
    eprintln!("{total} changes of {} classes", made.len());
    assert!(
        failures.is_empty(),
        "{} of {total}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
