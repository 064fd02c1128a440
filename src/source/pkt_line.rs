//! Git's framing of lines on the wire.
//!
//! Source: git `Documentation/gitprotocol-common.adoc`, `gitprotocol-v2.adoc`.

use std::io::{self, Read};

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: the message ends.
    Flush,
    /// `0001`: a section ends.
    Delimiter,
    /// `0002`: a stateless response ends.
    ResponseEnd,
    /// Some bytes.
    Data(Vec<u8>),
}

/// Reads the next packet; `None` where the stream ends between packets.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Packet>> {
    let mut digits = [0; 4];
    let mut filled = 0;
    while filled < digits.len() {
        match from.read(&mut digits[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut length = [0; 2];
    hex::decode_to_slice(digits, &mut length).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "a packet has the length {:?}",
                String::from_utf8_lossy(&digits)
            ),
        )
    })?;
    match u16::from_be_bytes(length) {
        0 => Ok(Some(Packet::Flush)),
        1 => Ok(Some(Packet::Delimiter)),
        2 => Ok(Some(Packet::ResponseEnd)),
        3 => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet has the length 3",
        )),
        length => {
            let mut data = vec![0; usize::from(length) - 4];
            from.read_exact(&mut data)?;
            Ok(Some(Packet::Data(data)))
        }
    }
}

/// Adds a line to a message.
pub(super) fn line(message: &mut Vec<u8>, text: &str) {
    // Four digits of length count themselves and the line's end.
    message.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
}

/// Ends a section of a message.
pub(super) fn delimiter(message: &mut Vec<u8>) {
    message.extend_from_slice(b"0001");
}

/// Ends a message.
pub(super) fn flush(message: &mut Vec<u8>) {
    message.extend_from_slice(b"0000");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in() {
        let mut message = Vec::new();
        line(&mut message, "command=ls-refs");
        delimiter(&mut message);
        flush(&mut message);
        assert_eq!(message, b"0014command=ls-refs\n00010000");
        let mut from = &message[..];
        let mut packets = Vec::new();
        while let Some(packet) = read(&mut from).unwrap() {
            packets.push(packet);
        }
        assert_eq!(
            packets,
            [
                Packet::Data(b"command=ls-refs\n".to_vec()),
                Packet::Delimiter,
                Packet::Flush
            ]
        );
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        for bytes in [&b"00"[..], b"0008ab", b"0003", b"zzzz", b"<htm"] {
            assert!(read(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut from = &bytes[..];
            while let Ok(Some(_)) = read(&mut from) {}
        }
    }
}
