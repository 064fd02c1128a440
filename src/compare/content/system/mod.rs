//! Formats of system files: accounts, package databases, caches, certificates and key stores.
//!
//! Each is read into records that have a name and fields, so that what differs can
//! be named: the login shell of root, the fingerprint of a certificate. A reader
//! that would lose a byte gives up instead, and the file is compared as another format.

mod accounts;
pub(crate) mod certificates;
pub(crate) mod key_store;
pub(crate) mod ld_cache;
mod packages;
mod records;

use super::Format;

/// All of them; most are told by the path, and by bytes that can be read.
pub(super) const FORMATS: &[Format] = &[
    accounts::PASSWD,
    accounts::SHADOW,
    accounts::GROUP,
    accounts::GSHADOW,
    accounts::SUBORDINATE,
    packages::DPKG,
    packages::DEBCONF,
    packages::APK,
    ld_cache::FORMAT,
    key_store::FORMAT,
    certificates::FORMAT,
];

#[cfg(test)]
mod testing;
