//! Bundle: a job → the `config.json` that an OCI runtime runs it by.
//!
//! It is written twice: for the runtime, with the paths and ids of this host;
//! and for the report, with names in their place that are the same on every
//! host. Keys and capabilities are sorted in both, so that equal jobs give
//! equal bytes.
//!
//! Source: OCI runtime-spec 1.0 `config.md`, `config-linux.md`; the
//! capabilities and the masked paths are those of Docker's defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oci_spec::{
    OciSpecError,
    runtime::{
        Capability, Hook, HookBuilder, Hooks, HooksBuilder, Linux, LinuxBuilder, LinuxCapabilities,
        LinuxCapabilitiesBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder,
        LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
        LinuxResourcesBuilder, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
        PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
    },
};
use serde_json::Value;

use super::{
    Access, Error, Job, Network, User,
    ids::{IdMap, Subordinate},
    relay, seccomp,
};
use crate::{digest::Digest, facts::LimitedBy};

/// All that a command is given, as the report shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The runtime's `config.json`, the host's paths and ids replaced.
    ///
    /// The root is `rootfs`, the mounts are `mounts/0` and on, the certificates of
    /// a relay are `authority`, what is for its hook is `relay`, and ids on the
    /// host are said to be those inside.
    pub config: String,
    /// The hash of its bytes.
    pub digest: Digest,
}

/// What a runtime can do here, as far as it shows in the config.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// `None` as root.
    pub(super) ids: Option<&'a Subordinate>,
    pub(super) limits: LimitedBy,
}

/// Where things are, on the host and inside.
pub(super) struct Places<'a> {
    pub(super) root: PathBuf,
    /// For each mount of the job.
    pub(super) mounts: Vec<(PathBuf, PathBuf)>,
    /// `None` where nothing is relayed.
    pub(super) relay: Option<RelayPlaces>,
    pub(super) ids: Option<&'a Subordinate>,
}

/// Where things of a relay are.
pub(super) struct RelayPlaces {
    /// What the hook and this program share.
    pub(super) folder: PathBuf,
    /// The file of certificates on the host.
    pub(super) authority: PathBuf,
    /// Where it is seen inside.
    pub(super) destinations: Vec<PathBuf>,
}

/// The places inside that the runtime mounts something at.
pub(super) const MOUNT_POINTS: [&str; 2] = ["/proc", "/dev"];

/// What a Docker build has.
const CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Open files, soft and hard: what every Linux gives a user, so that any may be given it again.
const OPEN_FILES: (u64, u64) = (1024, 4096);

impl Bundle {
    /// Says what a job is given; `authorities` are the places inside of a relay's certificates.
    pub(super) fn of(job: &Job<'_>, means: Means<'_>, authorities: &[&str]) -> Result<Self, Error> {
        let ids = means.ids.map(|ids| Subordinate {
            uids: on_no_host(&ids.uids),
            gids: on_no_host(&ids.gids),
        });
        let places = Places {
            root: PathBuf::from("rootfs"),
            mounts: job
                .mounts
                .iter()
                .enumerate()
                .map(|(index, mount)| {
                    (
                        PathBuf::from(format!("mounts/{index}")),
                        PathBuf::from(mount.destination),
                    )
                })
                .collect(),
            relay: match job.network {
                Network::Relayed(_) => Some(RelayPlaces {
                    folder: PathBuf::from("relay"),
                    authority: PathBuf::from("authority"),
                    destinations: authorities.iter().map(PathBuf::from).collect(),
                }),
                Network::None | Network::Loopback => None,
            },
            ids: ids.as_ref(),
        };
        let config = config(job, means.limits, &places)?;
        let digest = Digest::of(config.as_bytes());
        Ok(Self { config, digest })
    }
}

/// Returns the map with one range from 0 and the ids inside in place of the host's.
fn on_no_host(map: &IdMap) -> IdMap {
    IdMap::same(map.size())
}

/// Writes `config.json`.
pub(super) fn config(
    job: &Job<'_>,
    limits: LimitedBy,
    places: &Places<'_>,
) -> Result<String, Error> {
    let spec = spec(job, limits, places).map_err(|error| Error::Config(error.into()))?;
    let mut value = serde_json::to_value(spec).map_err(|error| Error::Config(error.into()))?;
    // They are sets, which come in no order.
    if let Some(Value::Object(sets)) = value.pointer_mut("/process/capabilities") {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
        }
    }
    let mut text =
        serde_json::to_string_pretty(&value).map_err(|error| Error::Config(error.into()))?;
    text.push('\n');
    Ok(text)
}

fn spec(job: &Job<'_>, limits: LimitedBy, places: &Places<'_>) -> Result<Spec, OciSpecError> {
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .root(
            RootBuilder::default()
                .path(&places.root)
                .readonly(false)
                .build()?,
        )
        .hostname(job.hostname)
        .process(process(job, limits)?)
        .mounts(mounts(job, places)?)
        .linux(linux(job, limits, places.ids)?);
    if let Some(relay) = &places.relay {
        spec = spec.hooks(hooks(relay)?);
    }
    spec.build()
}

/// Has the runtime wait for the relay before it starts the command.
fn hooks(relay: &RelayPlaces) -> Result<Hooks, OciSpecError> {
    let folder = relay.folder.to_string_lossy();
    let hook: Hook = HookBuilder::default()
        .path("/bin/sh")
        .args(["sh", "-c", relay::HOOK, "reprove-hook", &*folder].map(str::to_owned))
        .env([relay::HOOK_ENVIRONMENT.to_owned()])
        .timeout(relay::HOOK_SECONDS)
        .build()?;
    HooksBuilder::default().create_runtime([hook]).build()
}

fn process(job: &Job<'_>, limits: LimitedBy) -> Result<Process, OciSpecError> {
    ProcessBuilder::default()
        .terminal(false)
        .user(
            UserBuilder::default()
                .uid(job.user.uid)
                .gid(job.user.gid)
                .umask(0o022_u32)
                .additional_gids([])
                .build()?,
        )
        .args(job.arguments)
        .env(environment(job))
        .cwd(job.directory)
        .capabilities(capabilities(job.user)?)
        .rlimits(rlimits(job, limits)?)
        // dpkg's and apt's own helpers are set-user-ID or change to another user.
        .no_new_privileges(false)
        .build()
}

/// Returns the variables, sorted, with those that must not come from elsewhere.
fn environment(job: &Job<'_>) -> Vec<String> {
    // Without HOME a runtime takes it from the root file system's /etc/passwd.
    let home = if job.user.uid == 0 { "/root" } else { "/" };
    let mut variables: BTreeMap<&str, &str> =
        [("HOME", home), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")].into();
    variables.extend(
        job.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Root has them; another user may come by them through a set-user-ID program.
fn capabilities(user: User) -> Result<LinuxCapabilities, OciSpecError> {
    let held: &[Capability] = if user.uid == 0 { &CAPABILITIES } else { &[] };
    let set = |capabilities: &[Capability]| {
        capabilities
            .iter()
            .copied()
            .collect::<std::collections::HashSet<_>>()
    };
    LinuxCapabilitiesBuilder::default()
        .bounding(set(&CAPABILITIES))
        .effective(set(held))
        .permitted(set(held))
        .inheritable(set(&[]))
        .ambient(set(&[]))
        .build()
}

fn rlimits(job: &Job<'_>, limits: LimitedBy) -> Result<Vec<PosixRlimit>, OciSpecError> {
    let limit = |kind, soft, hard| {
        PosixRlimitBuilder::default()
            .typ(kind)
            .soft(soft)
            .hard(hard)
            .build()
    };
    let mut rlimits = vec![
        limit(PosixRlimitType::RlimitCore, 0_u64, 0_u64)?,
        limit(PosixRlimitType::RlimitNofile, OPEN_FILES.0, OPEN_FILES.1)?,
    ];
    if limits == LimitedBy::ResourceLimits {
        let processes = u64::from(job.limits.processes);
        rlimits.push(limit(PosixRlimitType::RlimitNproc, processes, processes)?);
    }
    Ok(rlimits)
}

fn mounts(job: &Job<'_>, places: &Places<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let mount = |kind: &str, source: &Path, destination: &Path, options: &[&str]| {
        MountBuilder::default()
            .typ(kind)
            .source(source)
            .destination(destination)
            .options(
                options
                    .iter()
                    .map(|&option| option.to_owned())
                    .collect::<Vec<_>>(),
            )
            .build()
    };
    let own = |kind: &str, destination: &str, options: &[&str]| {
        mount(kind, Path::new(kind), Path::new(destination), options)
    };
    let mut mounts = vec![
        own("proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        own(
            "tmpfs",
            "/dev",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        own(
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        own(
            "tmpfs",
            "/dev/shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        )?,
    ];
    // In a user namespace a read-only bind must keep the last two, where the host's mount has them.
    let read_only = ["bind", "ro", "nosuid", "nodev"];
    for (asked, (source, destination)) in job.mounts.iter().zip(&places.mounts) {
        let options: &[&str] = match asked.access {
            Access::ReadOnly => &read_only,
            Access::Writable => &["bind"],
        };
        mounts.push(mount("bind", source, destination, options)?);
    }
    if let Some(relay) = &places.relay {
        for destination in &relay.destinations {
            mounts.push(mount("bind", &relay.authority, destination, &read_only)?);
        }
    }
    Ok(mounts)
}

fn linux(
    job: &Job<'_>,
    limits: LimitedBy,
    ids: Option<&Subordinate>,
) -> Result<Linux, OciSpecError> {
    let mut namespaces = vec![
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Uts,
    ];
    let texts =
        |paths: &[&str]| -> Vec<String> { paths.iter().map(|&path| path.to_owned()).collect() };
    let mut linux = LinuxBuilder::default()
        .rootfs_propagation("rprivate")
        .masked_paths(texts(&MASKED))
        .readonly_paths(texts(&READ_ONLY))
        .seccomp(seccomp::filter(job.network)?);
    if let Some(ids) = ids {
        namespaces.push(LinuxNamespaceType::User);
        linux = linux
            .uid_mappings(mappings(&ids.uids)?)
            .gid_mappings(mappings(&ids.gids)?);
    }
    if let Some(resources) = resources(job, limits)? {
        linux = linux.resources(resources);
    }
    linux
        .namespaces(
            namespaces
                .into_iter()
                .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
                .collect::<Result<Vec<_>, _>>()?,
        )
        .build()
}

fn mappings(map: &IdMap) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    map.ranges()
        .iter()
        .map(|range| {
            LinuxIdMappingBuilder::default()
                .container_id(range.inside)
                .host_id(range.host)
                .size(range.size)
                .build()
        })
        .collect()
}

/// The devices are left to the runtime, which allows no others than those it makes in `/dev`.
fn resources(job: &Job<'_>, limits: LimitedBy) -> Result<Option<LinuxResources>, OciSpecError> {
    let bytes = i64::try_from(job.limits.memory_in_bytes).unwrap_or(i64::MAX);
    let memory = LinuxMemoryBuilder::default().limit(bytes);
    let memory = match limits {
        LimitedBy::ControlGroup => memory.swap(bytes),
        LimitedBy::ControlGroupWithoutSwap => memory,
        LimitedBy::ResourceLimits => return Ok(None),
    };
    LinuxResourcesBuilder::default()
        .memory(memory.build()?)
        .pids(
            LinuxPidsBuilder::default()
                .limit(i64::from(job.limits.processes))
                .build()?,
        )
        .build()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rebuild::sandbox::{Limits, Network};

    /// Fails where keys are kept in the order that they come in, which a feature of `serde_json` does.
    fn assert_sorted(value: &Value) {
        match value {
            Value::Object(fields) => {
                assert!(fields.keys().is_sorted(), "{:?}", fields.keys());
                fields.values().for_each(assert_sorted);
            }
            Value::Array(items) => items.iter().for_each(assert_sorted),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn a_config_is_in_one_order_and_says_nothing_of_the_host() {
        let arguments = ["true".to_owned()];
        let environment = BTreeMap::from([("Z".to_owned(), "1".to_owned())]);
        let mounts = [crate::rebuild::sandbox::Mount {
            source: Path::new("/on/this/host"),
            destination: "/inputs",
            access: Access::ReadOnly,
        }];
        let job = Job {
            root: Path::new("/on/this/host/root"),
            arguments: &arguments,
            environment: &environment,
            directory: "/",
            user: User::default(),
            mounts: &mounts,
            network: Network::None,
            hostname: "builder",
            limits: Limits::default(),
        };
        let here = |own, first| Subordinate {
            uids: IdMap::new(own, &[(first, 65536)]),
            gids: IdMap::new(own, &[(first, 65536)]),
        };
        let ids = [here(1000, 100_000), here(4242, 1_000_000)];
        let bundles = ids.each_ref().map(|ids| {
            let means = Means {
                ids: Some(ids),
                limits: LimitedBy::ResourceLimits,
            };
            Bundle::of(&job, means, &[]).unwrap()
        });
        assert_eq!(bundles[0], bundles[1]);
        assert!(!bundles[0].config.contains("/on/this/host"));
        let value: Value = serde_json::from_str(&bundles[0].config).unwrap();
        assert_sorted(&value);
        let capabilities = value["process"]["capabilities"]["bounding"]
            .as_array()
            .unwrap();
        assert!(capabilities.is_sorted_by_key(|name| name.as_str()));
        assert_eq!(capabilities.len(), CAPABILITIES.len());
        assert_eq!(
            value["process"]["env"],
            serde_json::json!(["HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC", "Z=1"])
        );
        let root = Means {
            ids: None,
            limits: LimitedBy::ControlGroup,
        };
        assert_ne!(
            Bundle::of(&job, root, &[]).unwrap().digest,
            bundles[0].digest
        );
    }
}
