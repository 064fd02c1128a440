//! Causes in keys and certificates: those that a package makes when it is installed, and
//! stores of the certificates that are trusted.
//!
//! A key that every machine makes for itself is explained where both sides hold one of the
//! same kind and size and nothing else. That an image holds one stays a risk of its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_cert::{
    AlgorithmIdentifier, Certificate,
    der::{Decode as _, Encode},
};

use super::{Cause, File, Recogniser, Recognition, Root, order, pkcs12};
use crate::{
    compare::content::system::{
        certificates::{self, Block},
        key_store::{self, KeyStore},
    },
    pair::Pair,
};

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "ssh-hostkeys",
        root: Root::Randomness,
        title: "openssh makes host keys when it is installed",
        advice: "delete /etc/ssh/ssh_host_*: who has the image has the private keys",
        recognise: Recogniser::File(ssh_host_key),
    },
    Cause {
        id: "snakeoil",
        root: Root::Randomness,
        title: "ssl-cert makes a key and signs a certificate with it when it is installed",
        advice: "delete the key and its certificate: who has the image has the private key",
        recognise: Recogniser::File(|file| match file.path.as_bytes() {
            b"etc/ssl/certs/ssl-cert-snakeoil.pem" => tls_certificate(file),
            b"etc/ssl/private/ssl-cert-snakeoil.key" => tls_key(file),
            _ => Recognition::Elsewhere,
        }),
    },
    Cause {
        id: "tls-other",
        root: Root::Randomness,
        title: "a server makes a key and signs a certificate with it when it is installed",
        advice: "delete the key and its certificate: who has the image has the private key",
        recognise: Recogniser::File(|file| {
            let path = file.path.as_bytes();
            let keys: [&[u8]; 5] = [
                b"etc/pki/tls/private/localhost.key",
                b"etc/dovecot/private/",
                b"var/lib/postfix/",
                b"var/lib/exim4/",
                b"etc/exim4/",
            ];
            if path == b"etc/pki/tls/certs/localhost.crt" {
                return tls_certificate(file);
            }
            if !keys.iter().any(|place| path.starts_with(place)) {
                return Recognition::Elsewhere;
            }
            let begins = |bytes: &[u8]| bytes.starts_with(b"-----BEGIN CERTIFICATE-----");
            if file.bytes.map(begins) == Pair::new(true, true) {
                tls_certificate(file)
            } else {
                tls_key(file)
            }
        }),
    },
    Cause {
        id: "java-cacerts",
        root: Root::Clock,
        title: "Java's store holds the time at which each certificate was added to it",
        advice: "make the store anew with fixed times, or leave it out",
        recognise: Recogniser::File(java_store),
    },
    Cause {
        id: "ca-bundle",
        root: Root::Order,
        title: "the same certificates are listed in another order",
        advice: "run update-ca-certificates last, in the C locale",
        recognise: Recogniser::File(|file| {
            let path = file.path.as_bytes();
            let is_bundle = path == b"etc/ssl/certs/ca-certificates.crt"
                || path.starts_with(b"etc/pki/ca-trust/extracted/pem/")
                || path == b"etc/ssl/cert.pem";
            if !is_bundle {
                return Recognition::Elsewhere;
            }
            order::in_another_order(file.bytes, "certificates", certificate_texts, |_| None)
        }),
    },
];

/// Cuts a bundle after each certificate.
fn certificate_texts(bytes: &[u8]) -> Vec<&[u8]> {
    const END: &[u8] = b"-----END CERTIFICATE-----\n";
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(END.len()).position(|window| window == END);
        let (text, after) = rest.split_at(end.map_or(rest.len(), |at| at + END.len()));
        texts.push(text);
        rest = after;
    }
    texts
}

/// Explains where both sides have the same kind of thing; says which kinds if not.
fn alike(kinds: Pair<Result<String, String>>, rest: &str) -> Recognition {
    let (published, rebuilt) = match (kinds.published, kinds.rebuilt) {
        (Ok(published), Ok(rebuilt)) => (published, rebuilt),
        (Err(why), _) => return Recognition::Refused(format!("the published side: {why}").into()),
        (_, Err(why)) => return Recognition::Refused(format!("the rebuilt side: {why}").into()),
    };
    if published != rebuilt {
        return Recognition::Refused(
            format!("the published side holds {published}, the rebuilt one {rebuilt}").into(),
        );
    }
    Recognition::Explained(format!("both sides hold {published}, and {rest}").into())
}

fn ssh_host_key(file: &File<'_>) -> Recognition {
    let Some(name) = file.path.as_bytes().strip_prefix(b"etc/ssh/ssh_host_") else {
        return Recognition::Elsewhere;
    };
    if name.ends_with(b"_key.pub") {
        alike(
            file.bytes.map(public_key),
            "nothing else but the name of the machine it was made on",
        )
    } else if name.ends_with(b"_key") {
        let is_openssh = |bytes: &[u8]| bytes.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----\n");
        if file.bytes.map(is_openssh) == Pair::new(false, false) {
            return tls_key(file);
        }
        alike(
            file.bytes.map(private_key),
            "nothing else but the name of the machine it was made on",
        )
    } else {
        Recognition::Elsewhere
    }
}

/// Describes the public key of a line such as `ssh-ed25519 AAAA… root@host`.
///
/// Source: sshd(8), "AUTHORIZED KEYS FILE FORMAT"; RFC 4253, section 6.6.
fn public_key(bytes: &[u8]) -> Result<String, String> {
    let no_key = || "it is not one line of a type, a key and who made it".to_owned();
    let line = bytes.strip_suffix(b"\n").ok_or_else(no_key)?;
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [kind, key, comment] = words[..] else {
        return Err(no_key());
    };
    let key = STANDARD.decode(key).map_err(|_| no_key())?;
    let description = describe(&key).filter(|(name, _)| name.as_bytes() == kind);
    let (_, description) =
        description.ok_or("its key is of no known type, or goes on after its end")?;
    if !is_user_at_host(comment) {
        return Err("its comment is not root and a machine's name".to_owned());
    }
    Ok(description)
}

/// Describes the one key of a file that `ssh-keygen` wrote without a passphrase.
///
/// Source: OpenSSH, `PROTOCOL.key`.
fn private_key(bytes: &[u8]) -> Result<String, String> {
    const LABEL: &[u8] = b"OPENSSH PRIVATE KEY";
    let no_key = || "it is no key as ssh-keygen writes it, without a passphrase".to_owned();
    let (blocks, rest) = certificates::blocks(bytes).ok_or_else(no_key)?;
    let [
        Block {
            before: [],
            label: LABEL,
            der,
            ..
        },
    ] = &blocks[..]
    else {
        return Err(no_key());
    };
    let mut written = b"-----BEGIN OPENSSH PRIVATE KEY-----\n".to_vec();
    for line in STANDARD.encode(der).as_bytes().chunks(70) {
        written.extend_from_slice(line);
        written.push(b'\n');
    }
    written.extend(b"-----END OPENSSH PRIVATE KEY-----\n");
    if !rest.is_empty() || written != bytes {
        return Err(no_key());
    }
    let inner = || -> Option<String> {
        let mut rest = der.strip_prefix(b"openssh-key-v1\0")?;
        let header = [string(&mut rest)?, string(&mut rest)?, string(&mut rest)?];
        let count = take(&mut rest, 4)?;
        let public = string(&mut rest)?;
        let mut private = string(&mut rest)?;
        if header != [&b"none"[..], b"none", b""] || count != [0, 0, 0, 1] || !rest.is_empty() {
            return None;
        }
        if take(&mut private, 4)? != take(&mut private, 4)? {
            return None;
        }
        let (name, description) = describe(public)?;
        let fields = public_fields(public)?;
        if string(&mut private)? != name.as_bytes() {
            return None;
        }
        match (name.as_str(), &fields[..]) {
            ("ssh-ed25519", [point]) => {
                let same = string(&mut private)? == *point;
                let secret = string(&mut private)?;
                (same && secret.len() == 64 && secret[32..] == **point).then_some(())?;
            }
            ("ssh-rsa", [exponent, modulus]) => {
                let same = [string(&mut private)?, string(&mut private)?] == [*modulus, *exponent];
                same.then_some(())?;
                for _ in ["d", "iqmp", "p", "q"] {
                    (string(&mut private)?.len() <= modulus.len()).then_some(())?;
                }
            }
            (_, [curve, point]) => {
                let same = [string(&mut private)?, string(&mut private)?] == [*curve, *point];
                same.then_some(())?;
                (string(&mut private)?.len() <= point.len() / 2 + 1).then_some(())?;
            }
            _ => return None,
        }
        let comment = string(&mut private)?;
        let is_padding = private.len() < 16
            && private
                .iter()
                .zip(1..)
                .all(|(&byte, number)| byte == number);
        (is_padding && is_user_at_host(comment))
            .then(|| format!("the private key of {description}"))
    };
    inner().ok_or_else(|| "its key is of no known type, or more is in it than one key".to_owned())
}

/// Returns the type of a public key, and its type and size in words.
fn describe(key: &[u8]) -> Option<(String, String)> {
    let mut rest = key;
    let name = std::str::from_utf8(string(&mut rest)?).ok()?;
    let fields = public_fields(key)?;
    let description = match (name, &fields[..]) {
        ("ssh-ed25519", [point]) if point.len() == 32 => "an Ed25519 key".to_owned(),
        ("ssh-rsa", [exponent, modulus]) if exponent.len() <= 8 => format!(
            "an RSA key of {} bits with the exponent 0x{}",
            bits(modulus),
            hex::encode(exponent)
        ),
        (_, [curve, point]) => {
            let size = match *curve {
                b"nistp256" => 65,
                b"nistp384" => 97,
                b"nistp521" => 133,
                _ => return None,
            };
            let curve = std::str::from_utf8(curve).ok()?;
            let fits = name.strip_prefix("ecdsa-sha2-") == Some(curve)
                && point.len() == size
                && point[0] == 4;
            fits.then(|| format!("an ECDSA key on {curve}"))?
        }
        _ => return None,
    };
    Some((name.to_owned(), description))
}

/// Returns what follows the type in a public key; `None` where it is not strings to the end.
fn public_fields(key: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = key;
    string(&mut rest)?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        fields.push(string(&mut rest)?);
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// Reads bytes after their number (RFC 4251, section 5).
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, usize::try_from(length).ok()?)
}

/// Returns how many bits a number in big-endian bytes has.
fn bits(number: &[u8]) -> usize {
    let number = &number[number.iter().take_while(|&&byte| byte == 0).count()..];
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - usize::try_from(first).expect("at most eight")
}

fn is_user_at_host(text: &[u8]) -> bool {
    text.strip_prefix(b"root@").is_some_and(is_host)
}

/// Returns whether a text can be the name of a machine.
///
/// Source: RFC 1123, section 2.1; containers' names are hexadecimal.
pub(super) fn is_host(text: &[u8]) -> bool {
    (1..=253).contains(&text.len())
        && text[0].is_ascii_alphanumeric()
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
}

/// Returns the one block of a file that has nothing else in it.
fn only_block<'a>(bytes: &'a [u8], labels: &[&[u8]]) -> Result<Block<'a>, String> {
    let what =
        || "it is not one PEM block of this kind, in the usual lines and nothing else".to_owned();
    let (mut blocks, rest) = certificates::blocks(bytes).ok_or_else(what)?;
    let block = blocks.pop().ok_or_else(what)?;
    let is_alone = blocks.is_empty() && rest.is_empty() && block.before.is_empty();
    if is_alone && block.is_usual && labels.contains(&block.label) {
        Ok(block)
    } else {
        Err(what())
    }
}

fn tls_key(file: &File<'_>) -> Recognition {
    let kind = |bytes: &[u8]| {
        let block = only_block(
            bytes,
            &[b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"],
        )?;
        let key = match block.label {
            b"PRIVATE KEY" => pkcs8(&block.der),
            b"RSA PRIVATE KEY" => rsa(&block.der),
            _ => ec(&block.der).map(|size| format!("an EC key of {size} bytes")),
        };
        key.ok_or_else(|| "its key is of no known type, or more is in it than a key".to_owned())
    };
    alike(file.bytes.map(kind), "nothing else")
}

/// Describes a private key (RFC 5958, version 0, without attributes).
fn pkcs8(der: &[u8]) -> Option<String> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let mut key = only(der, SEQUENCE)?;
    let version = next(&mut key, INTEGER)?;
    let mut algorithm = next(&mut key, SEQUENCE)?;
    let private = next(&mut key, OCTETS)?;
    let name = next(&mut algorithm, OBJECT)?;
    if version != [0] || !key.is_empty() {
        return None;
    }
    match name {
        RSA if algorithm == [NULL, 0] => rsa(private),
        EC => {
            let curve = only(algorithm, OBJECT)?;
            let size = ec(private)?;
            Some(format!(
                "an EC key of {size} bytes on the curve {}",
                hex::encode(curve)
            ))
        }
        _ => None,
    }
}

/// Describes an RSA private key (RFC 8017, appendix A.1.2).
fn rsa(der: &[u8]) -> Option<String> {
    let mut key = only(der, SEQUENCE)?;
    let version = next(&mut key, INTEGER)?;
    let modulus = next(&mut key, INTEGER)?;
    let exponent = next(&mut key, INTEGER)?;
    let secret = next(&mut key, INTEGER)?;
    let mut are_halves = true;
    for _ in [
        "prime 1",
        "prime 2",
        "exponent 1",
        "exponent 2",
        "coefficient",
    ] {
        are_halves &= bits(next(&mut key, INTEGER)?) <= bits(modulus).div_ceil(2) + 8;
    }
    let fits = version == [0]
        && key.is_empty()
        && are_halves
        && exponent.len() <= 8
        && bits(secret) <= bits(modulus);
    fits.then(|| {
        format!(
            "an RSA key of {} bits with the exponent 0x{}",
            bits(modulus),
            hex::encode(exponent)
        )
    })
}

/// Returns the size in bytes of an EC private key (RFC 5915).
fn ec(der: &[u8]) -> Option<usize> {
    let mut key = only(der, SEQUENCE)?;
    let version = next(&mut key, INTEGER)?;
    let secret = next(&mut key, OCTETS)?;
    // The curve's name, and the public point.
    let public = match key {
        [] => None,
        [0xa0, ..] => {
            let curve = next(&mut key, 0xa0)?;
            only(curve, OBJECT)?;
            (!key.is_empty()).then(|| next(&mut key, 0xa1))
        }
        _ => Some(next(&mut key, 0xa1)),
    };
    let is_point = match public {
        None => true,
        Some(public) => only(public?, BITS)?.len() == 2 * secret.len() + 2,
    };
    (version == [1] && key.is_empty() && is_point).then_some(secret.len())
}

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Reads one value of this DER tag, and moves on (X.690, section 8.1).
pub(super) fn next<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let [found, first, ..] = **rest else {
        return None;
    };
    if found != tag {
        return None;
    }
    take(rest, 2)?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let bytes = take(rest, usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            // DER has one way only to write a length.
            let shortest = [0x80, 0x100, 0x1_0000][bytes.len() - 1];
            (length >= shortest).then_some(length)?
        }
        _ => return None,
    };
    take(rest, length)
}

/// Reads one value of this DER tag with nothing after it.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = bytes;
    let value = next(&mut rest, tag)?;
    rest.is_empty().then_some(value)
}

fn tls_certificate(file: &File<'_>) -> Recognition {
    alike(
        file.bytes.map(self_signed),
        "the key, the serial number, the day and the name of the machine are the rest",
    )
}

/// Returns an algorithm's name, and its parameters where it has any.
///
/// Source: RFC 8017, appendix C; RFC 5758.
fn algorithm(identifier: &AlgorithmIdentifier) -> Option<String> {
    let id = identifier.oid.to_string();
    let name = match id.as_str() {
        "1.2.840.113549.1.1.1" => "RSA",
        "1.2.840.113549.1.1.11" => "SHA-256 and RSA",
        "1.2.840.113549.1.1.13" => "SHA-512 and RSA",
        "1.2.840.10045.2.1" => "elliptic curves",
        "1.2.840.10045.4.3.2" => "SHA-256 and ECDSA",
        _ => &id,
    };
    let parameters = identifier.parameters.as_ref().map(Encode::to_der);
    let parameters = parameters.transpose().ok()?.unwrap_or_default();
    let is_rsa = name.ends_with("RSA");
    // RSA has NULL for its parameters, the others have none.
    if is_rsa && parameters == [NULL, 0] || !is_rsa && parameters.is_empty() {
        Some(name.to_owned())
    } else {
        Some(format!("{name} with {}", hex::encode(parameters)))
    }
}

/// Describes the one certificate of a file, signed by itself in name.
///
/// What is not described is what each such certificate has anew: the key, the serial
/// number, the days, the signature, the key's identifiers, and the machine's name.
fn self_signed(bytes: &[u8]) -> Result<String, String> {
    let block = only_block(bytes, &[b"CERTIFICATE"])?;
    let describe = || -> Option<String> {
        let certificate = Certificate::from_der(&block.der).ok()?;
        // What the reader would have passed over is not described.
        (certificate.to_der().ok()? == block.der).then_some(())?;
        let parts = certificate.tbs_certificate();
        let host = parts.subject().to_string();
        let host = host
            .strip_prefix("CN=")
            .filter(|host| is_host(host.as_bytes()))?;
        let is_plain = parts.issuer() == parts.subject()
            && parts.issuer_unique_id().is_none()
            && parts.subject_unique_id().is_none()
            && parts.signature() == certificate.signature_algorithm();
        is_plain.then_some(())?;
        let key = parts.subject_public_key_info();
        let algorithm = algorithm(&key.algorithm)?;
        let signed_with = self::algorithm(parts.signature())?;
        let validity = parts.validity();
        let days = validity
            .not_after
            .to_unix_duration()
            .checked_sub(validity.not_before.to_unix_duration())?
            .as_secs()
            / 86_400;
        let mut extensions = Vec::new();
        for extension in parts.extensions().into_iter().flatten() {
            let id = extension.extn_id.to_string();
            let value = extension.extn_value.as_bytes();
            let value = match id.as_str() {
                // The identifiers of the subject's and the authority's keys: a hash each.
                "2.5.29.14" if only(value, OCTETS)?.len() == 20 => "of the key".to_owned(),
                "2.5.29.35" if value.len() == 24 => "of the key".to_owned(),
                "2.5.29.17" => {
                    let names = only(value, SEQUENCE)?;
                    let mut expected = vec![0x82, u8::try_from(host.len()).ok()?];
                    expected.extend(host.bytes());
                    if names == expected {
                        "of the machine".to_owned()
                    } else {
                        hex::encode(names)
                    }
                }
                _ => hex::encode(value),
            };
            extensions.push(format!(
                "{id}{} {value}",
                if extension.critical { " critical" } else { "" }
            ));
        }
        Some(format!(
            "one certificate of version {}, for {days} days, of a machine that is its own issuer, \
             with a key in {} bytes for {algorithm}, signed with {signed_with} in {} bytes, and the \
             extensions [{}]",
            parts.version() as u8 + 1,
            key.subject_public_key.raw_bytes().len(),
            certificate.signature().raw_bytes().len(),
            extensions.join(", ")
        ))
    };
    describe()
        .ok_or_else(|| "its certificate is not one that a machine makes for itself".to_owned())
}

fn java_store(file: &File<'_>) -> Recognition {
    let paths: [&[u8]; 3] = [
        b"etc/ssl/certs/java/cacerts",
        b"etc/pki/ca-trust/extracted/java/cacerts",
        b"etc/pki/java/cacerts",
    ];
    let path = file.path.as_bytes();
    // A Java that was not installed by a package has one of its own.
    if !paths.contains(&path) && !path.ends_with(b"/lib/security/cacerts") {
        return Recognition::Elsewhere;
    }
    if file.bytes.map(pkcs12::is) == Pair::new(true, true) {
        return pkcs12::in_another_order(file.bytes);
    }
    let (Some(published), Some(rebuilt)) = (
        key_store::parse(file.bytes.published),
        key_store::parse(file.bytes.rebuilt),
    ) else {
        return Recognition::Refused(
            "a side is neither JKS nor PKCS #12, or goes on after its end".into(),
        );
    };
    let stores = Pair::new(published, rebuilt);
    let header = |store: &KeyStore<'_>| (store.magic.to_vec(), store.version);
    if !stores.as_ref().map(header).is_equal() {
        return Recognition::Refused("the stores are of two types".into());
    }
    if stores.as_ref().map(|store| store.has_right_digest) != Pair::new(true, true) {
        return Recognition::Refused(
            "a store's digest does not fit what is in it and the usual password".into(),
        );
    }
    let is_key = |store: &KeyStore<'_>| store.entries.iter().any(|entry| entry.key.is_some());
    if stores.as_ref().map(is_key) != Pair::new(false, false) {
        return Recognition::Refused("a store holds a private key".into());
    }
    let sets = stores.as_ref().map(|store| {
        let mut entries: Vec<_> = store
            .entries
            .iter()
            .map(|entry| (entry.alias, entry.certificates.as_slice()))
            .collect();
        entries.sort_unstable();
        entries
    });
    if let Some((side, (alias, trusted))) = order::only_one(sets.as_ref().map(Vec::as_slice)) {
        let fingerprint = trusted
            .first()
            .map_or_else(String::new, |(_, der)| certificates::fingerprint(der));
        return Recognition::Refused(
            format!(
                "only the {side} store trusts {}, {fingerprint}",
                order::shown(alias)
            )
            .into(),
        );
    }
    let mut aliases = sets.published.windows(2);
    if aliases.any(|two| two[0].0 == two[1].0) {
        return Recognition::Refused("two entries of a store have one alias".into());
    }
    Recognition::Explained(
        format!(
            "both stores trust the same {} certificates under the same aliases; the times at \
             which they were added and the digest over all of it are the rest, and the digest is right",
            sets.published.len()
        )
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::super::testing::{Row, told};
    use crate::compare::content::{
        system::certificates::written,
        testing::{key_store, ssh_private_key},
    };

    #[test]
    fn a_java_store_is_explained_only_by_its_times() {
        let published = key_store(&[("one", 1, b"1"), ("two", 2, b"2")]);
        let mut unsigned = key_store(&[("one", 3, b"1"), ("two", 4, b"2")]);
        *unsigned.last_mut().unwrap() ^= 1;
        let longer = [
            key_store(&[("one", 3, b"1"), ("two", 4, b"2")]),
            b"x".to_vec(),
        ]
        .concat();
        let rows = [
            (
                "times",
                key_store(&[("one", 3, b"1"), ("two", 4, b"2")]),
                "java-cacerts",
            ),
            (
                "order",
                key_store(&[("two", 3, b"2"), ("one", 4, b"1")]),
                "java-cacerts",
            ),
            (
                "an extra certificate",
                key_store(&[("one", 3, b"1"), ("two", 4, b"2"), ("evil", 5, b"3")]),
                "java-cacerts: only the rebuilt store trusts “evil”, SHA-256 \
                 4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
            ),
            (
                "another certificate under an alias",
                key_store(&[("one", 3, b"1"), ("two", 4, b"3")]),
                "java-cacerts: only the published store trusts “two”, SHA-256 \
                 d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",
            ),
            (
                "a wrong digest",
                unsigned,
                "java-cacerts: a store's digest does not fit what is in it and the usual password",
            ),
            (
                "bytes after the end",
                longer,
                "java-cacerts: a side is neither JKS nor PKCS #12, or goes on after its end",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told("etc/ssl/certs/java/cacerts", &published, &rebuilt);
            assert_eq!(found, expected, "{case}");
        }
    }

    fn public_line(kind: &str, fields: &[&[u8]], comment: &str) -> String {
        let mut key = Vec::new();
        for field in [kind.as_bytes()].iter().chain(fields) {
            key.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            key.extend(*field);
        }
        format!("{kind} {} {comment}\n", STANDARD.encode(key))
    }

    #[test]
    fn host_keys_are_explained_only_by_keys_of_the_same_kind() {
        let ed25519 = |seed: u8| public_line("ssh-ed25519", &[&[seed; 32]], "root@vm");
        let rsa = public_line("ssh-rsa", &[&[1, 0, 1], &[0x81; 256]], "root@vm");
        let small = public_line("ssh-rsa", &[&[1, 0, 1], &[0x81; 128]], "root@vm");
        let public = "etc/ssh/ssh_host_ed25519_key.pub";
        let private = "etc/ssh/ssh_host_ed25519_key";
        let rows: [Row<'_>; 9] = [
            (
                "another key",
                public,
                ed25519(1).into(),
                ed25519(2).into(),
                "ssh-hostkeys",
            ),
            (
                "another host",
                public,
                ed25519(1).into(),
                ed25519(2).replace("root@vm", "root@7f3ab2").into(),
                "ssh-hostkeys",
            ),
            (
                "another type",
                public,
                ed25519(1).into(),
                rsa.clone().into(),
                "ssh-hostkeys: the published side holds an Ed25519 key, the rebuilt one an RSA key of 2048 bits with the exponent 0x010001",
            ),
            (
                "a weaker key",
                "etc/ssh/ssh_host_rsa_key.pub",
                rsa.into(),
                small.into(),
                "ssh-hostkeys: the published side holds an RSA key of 2048 bits with the exponent 0x010001, the rebuilt one an RSA key of 1024 bits with the exponent 0x010001",
            ),
            (
                "a second line",
                public,
                ed25519(1).into(),
                [ed25519(2), ed25519(3)].concat().into(),
                "ssh-hostkeys: the rebuilt side: it is not one line of a type, a key and who made it",
            ),
            (
                "a comment that is a command",
                public,
                ed25519(1).into(),
                ed25519(2).replace("root@vm", "$(id)").into(),
                "ssh-hostkeys: the rebuilt side: its comment is not root and a machine's name",
            ),
            (
                "another private key",
                private,
                ssh_private_key(1, "root@vm", b""),
                ssh_private_key(2, "root@other", b""),
                "ssh-hostkeys",
            ),
            (
                "more in a private key",
                private,
                ssh_private_key(1, "root@vm", b""),
                ssh_private_key(2, "root@vm", b"#!/bin/sh"),
                "ssh-hostkeys: the rebuilt side: its key is of no known type, or more is in it than one key",
            ),
            (
                "bytes after a private key",
                private,
                ssh_private_key(1, "root@vm", b""),
                [ssh_private_key(2, "root@vm", b""), b"x\n".to_vec()].concat(),
                "ssh-hostkeys: the rebuilt side: it is no key as ssh-keygen writes it, without a passphrase",
            ),
        ];
        for (case, path, published, rebuilt, expected) in rows {
            assert_eq!(told(path, &published, &rebuilt), expected, "{case}");
        }
    }

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match length {
            [0, short @ 0..=0x7f] => [&[tag, short], content].concat(),
            [0, long] => [&[tag, 0x81, long], content].concat(),
            [high, low] => [&[tag, 0x82, high, low], content].concat(),
        }
    }

    fn rsa_key(seed: u8, size: usize, more: &[u8]) -> Vec<u8> {
        let number = |size: usize| der(2, &[vec![0], vec![seed | 0x80; size]].concat());
        let half = number(size / 2);
        let private = [
            der(2, &[0]),
            number(size),
            der(2, &[1, 0, 1]),
            number(size),
            half.repeat(5),
            more.to_vec(),
        ]
        .concat();
        let algorithm = [
            der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]),
            der(5, &[]),
        ]
        .concat();
        let key = [
            der(2, &[0]),
            der(0x30, &algorithm),
            der(4, &der(0x30, &private)),
        ]
        .concat();
        written(b"PRIVATE KEY", &der(0x30, &key))
    }

    #[test]
    fn a_servers_key_is_explained_only_by_one_of_the_same_size() {
        let published = rsa_key(1, 256, b"");
        let rows = [
            ("another key", rsa_key(2, 256, b""), "snakeoil"),
            (
                "a weaker one",
                rsa_key(2, 128, b""),
                "snakeoil: the published side holds an RSA key of 2048 bits with the exponent 0x010001, the rebuilt one an RSA key of 1024 bits with the exponent 0x010001",
            ),
            (
                "more in it",
                rsa_key(2, 256, &der(4, b"#!/bin/sh")),
                "snakeoil: the rebuilt side: its key is of no known type, or more is in it than a key",
            ),
            (
                "text after it",
                [rsa_key(2, 256, b""), b"x\n".to_vec()].concat(),
                "snakeoil: the rebuilt side: it is not one PEM block of this kind, in the usual lines and nothing else",
            ),
        ];
        for (case, rebuilt, expected) in rows {
            let found = told(
                "etc/ssl/private/ssl-cert-snakeoil.key",
                &published,
                &rebuilt,
            );
            assert_eq!(found, expected, "{case}");
        }
    }

    #[test]
    fn a_bundle_is_explained_only_by_its_order() {
        let one = |byte: u8| written(b"CERTIFICATE", &[byte; 99]);
        let published = [one(1), one(2)].concat();
        let path = "etc/ssl/certs/ca-certificates.crt";
        assert_eq!(
            told(path, &published, &[one(2), one(1)].concat()),
            "ca-bundle"
        );
        let more = told(path, &published, &[one(2), one(1), one(3)].concat());
        assert!(
            more.starts_with("ca-bundle: only the rebuilt file has “-----BEGIN"),
            "{more}"
        );
        let after = told(path, &published, &[&one(2)[..], &one(1), b"x"].concat());
        assert_eq!(after, "ca-bundle: only the rebuilt file has “x”");
    }
}
