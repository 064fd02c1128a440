//! Seccomp: the system calls that do nothing, or are refused, inside.
//!
//! Everything else is allowed: capabilities, namespaces and the device control
//! group already bound what a process can do. What is named here is
//! what those leave open.

use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
        LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
    },
};

use super::Network;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
/// The first family after `AF_NETLINK`; from here on there are ones, such as
/// `AF_VSOCK`, that reach the host whatever the network namespace.
const AF_PACKET: u64 = 17;

const CLONE_NEWUSER: u64 = 0x1000_0000;

/// What is written is thrown away or packed in the end; what a crash leaves is never used.
const DURABILITY: &[&str] = &[
    "fdatasync",
    "fsync",
    "msync",
    "sync",
    "sync_file_range",
    "syncfs",
];

/// What reaches out of every namespace, or is a means to attack the kernel, and builds
/// nothing. Docker's profile refuses these too.
const REFUSED: &[&str] = &[
    "add_key",
    "bpf",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "open_by_handle_at",
    "perf_event_open",
    "request_key",
    "userfaultfd",
];

/// What carries its arguments in memory, out of sight of a filter: programs then take
/// `clone`, `socket` and plain reads and writes.
const UNSEEN: &[&str] = &[
    "clone3",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "socketcall",
];

/// Returns the filter.
pub(super) fn filter(network: Network<'_>) -> Result<LinuxSeccomp, OciSpecError> {
    let mut calls = vec![
        call(DURABILITY, 0, None)?,
        call(REFUSED, EPERM, None)?,
        call(UNSEEN, ENOSYS, None)?,
        // A user namespace would give back the capabilities that are left out.
        call(&["clone", "unshare"], EPERM, Some(flag(CLONE_NEWUSER)?))?,
        call(
            &["socket"],
            EAFNOSUPPORT,
            Some(argument(LinuxSeccompOperator::ScmpCmpGe, AF_PACKET)?),
        )?,
    ];
    if network == Network::None {
        for family in [AF_INET, AF_INET6] {
            calls.push(call(
                &["socket"],
                EAFNOSUPPORT,
                Some(argument(LinuxSeccompOperator::ScmpCmpEq, family)?),
            )?);
        }
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .architectures(architectures(std::env::consts::ARCH))
        .syscalls(calls)
        .build()
}

/// Returns the machine's own architecture and those that its kernel also runs.
///
/// A system call of any other is answered by the end of the process.
fn architectures(machine: &str) -> Vec<Arch> {
    match machine {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => Vec::new(),
    }
}

fn call(
    names: &[&str],
    errno: u32,
    argument: Option<LinuxSeccompArg>,
) -> Result<LinuxSyscall, OciSpecError> {
    let builder = LinuxSyscallBuilder::default()
        .names(
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>(),
        )
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(errno);
    match argument {
        Some(argument) => builder.args([argument]),
        None => builder,
    }
    .build()
}

/// Looks at the first argument.
fn argument(operator: LinuxSeccompOperator, value: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .op(operator)
        .value(value)
        .build()
}

/// Looks for a bit in the first argument.
fn flag(bit: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .value(bit)
        .value_two(bit)
        .build()
}
