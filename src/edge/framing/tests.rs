//! Frames as they come in pieces, and those that RFC 6455 forbids.

use super::*;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { bytes: 1_000, fragments: 8 };

/// A client's frame.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame, Opcode::Binary, payload);
    let head = frame.len() - payload.len();
    frame[0] = first;
    frame[1] |= MASKED;
    let mut body = frame.split_off(head);
    body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    frame.extend_from_slice(&mask);
    frame.extend_from_slice(&body);
    frame
}

fn read(framing: &mut Framing, bytes: &[u8]) -> (Vec<String>, Result<(), Broken>) {
    let mut heard = Vec::new();
    let result = framing.read(&mut bytes.to_vec(), BOUNDS, &mut |frame| {
        heard.push(format!("{frame:?}"));
        true
    });
    (heard, result)
}

proptest! {
    #[test]
    fn messages_come_whole_however_the_bytes_are_cut(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), 1..5_usize), 1..6),
        cuts in prop::collection::vec(1..200_usize, 1..40),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (message, mask, parts) in &messages {
            let size = message.len().div_ceil(*parts).max(1);
            let pieces: Vec<&[u8]> = if message.is_empty() { vec![&[]] } else { message.chunks(size).collect() };
            for (i, piece) in pieces.iter().enumerate() {
                let fin = if i + 1 == pieces.len() { FINAL } else { 0 };
                let opcode = if i == 0 { Opcode::Binary } else { Opcode::Continuation };
                bytes.extend(masked(fin | opcode as u8, piece, *mask));
                if fin == 0 {
                    bytes.extend(masked(FINAL | Opcode::Ping as u8, &[i as u8], *mask));
                    expected.push(format!("{:?}", Heard::Ping(&[i as u8])));
                }
            }
            expected.push(format!("{:?}", Heard::Binary(message)));
        }
        let (mut framing, mut heard, mut left) = (Framing::default(), Vec::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            let (now, later) = left.split_at((*cut).min(left.len()));
            let (more, result) = read(&mut framing, now);
            prop_assert_eq!(result, Ok(()));
            heard.extend(more);
            left = later;
            if left.is_empty() {
                break;
            }
        }
        prop_assert_eq!(heard, expected);
        prop_assert!(framing.is_between());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let (_, result) = read(&mut Framing::default(), &bytes);
        prop_assert!(result.is_ok() || result.is_err());
    }
}

#[test]
fn what_breaks_the_protocol_is_refused_by_its_header() {
    let mask = [1, 2, 3, 4];
    let first = |fin: u8, opcode: Opcode| fin | opcode as u8;
    let cases: [(&str, Vec<u8>); 15] = [
        ("an opcode that is reserved", masked(FINAL | 3, b"", mask)),
        ("a reserved bit is set", masked(FINAL | 0x40 | 1, b"", mask)),
        ("a client's frame is not masked", vec![FINAL | 1, 0]),
        ("a control frame in fragments", masked(first(0, Opcode::Ping), b"", mask)),
        ("a control frame above 125 bytes", masked(first(FINAL, Opcode::Ping), &[0; 126], mask)),
        ("a continuation of nothing", masked(first(FINAL, Opcode::Continuation), b"", mask)),
        ("a close frame of one byte", masked(first(FINAL, Opcode::Close), b"x", mask)),
        ("a close code that may not be sent", masked(first(FINAL, Opcode::Close), &1005_u16.to_be_bytes(), mask)),
        ("a text message is not UTF-8", masked(first(FINAL, Opcode::Text), &[0xff], mask)),
        ("a text message is not UTF-8", masked(first(FINAL, Opcode::Close), &[3, 232, 0xff], mask)),
        ("a message is too large", masked(first(FINAL, Opcode::Text), &[b'x'; 1_001], mask)[..8].to_vec()),
        ("a message is too large", vec![FINAL | 2, MASKED | 127, 127, 255, 255, 255, 255, 255, 255, 255]),
        ("a length of 2^63 or more", vec![FINAL | 2, MASKED | 127, 128, 0, 0, 0, 0, 0, 0, 0]),
        ("a length in more bytes than it needs", vec![FINAL | 2, MASKED | 126, 0, 125]),
        ("a length in more bytes than it needs", vec![FINAL | 2, MASKED | 127, 0, 0, 0, 0, 0, 0, 255, 255]),
    ];
    for (why, bytes) in cases {
        let (heard, result) = read(&mut Framing::default(), &bytes);
        assert_eq!((heard.len(), result.expect_err(why).to_string().as_str()), (0, why));
    }
}

#[test]
fn fragments_are_bounded_and_text_is_checked_as_it_comes() {
    let mask = [0; 4];
    let empty = masked(Opcode::Continuation as u8, b"", mask);
    let mut bytes = masked(Opcode::Text as u8, "ä".as_bytes().split_at(1).0, mask);
    let mut framing = Framing::default();
    assert_eq!(read(&mut framing, &bytes), (vec![], Ok(())), "half a character");
    assert_eq!(read(&mut framing, &masked(Opcode::Continuation as u8, b"x", mask)), (vec![], Err(Broken::NotUtf8)));

    bytes = masked(Opcode::Text as u8, b"a", mask);
    (0..8).for_each(|_| bytes.extend(&empty));
    assert_eq!(read(&mut Framing::default(), &bytes).1, Err(Broken::TooBig), "nine fragments");
    bytes.truncate(bytes.len() - 2 * empty.len());
    bytes.extend(masked(FINAL, b"", mask));
    assert_eq!(read(&mut Framing::default(), &bytes), (vec!["Text([97])".to_owned()], Ok(())), "eight");

    let within = [masked(Opcode::Text as u8, b"a", mask), masked(FINAL | 1, b"b", mask)].concat();
    let (_, result) = read(&mut Framing::default(), &within);
    assert_eq!(result, Err(Broken::Protocol("a new message within another")));
}

#[test]
fn text_is_judged_as_far_as_it_has_come() {
    let (mask, good) = ([0x37, 0xfa, 0x21, 0x3d], "κόσμε🎈");
    for first in [FINAL | Opcode::Text as u8, Opcode::Text as u8] {
        let bad = masked(first, &[good.as_bytes(), b"\xf4\x90", &[b'x'; 300]].concat(), mask);
        let wrong = bad.len() - 301;
        let mut framing = Framing::default();
        assert_eq!(read(&mut framing, &bad[..wrong]), (vec![], Ok(())), "may yet become a character");
        assert_eq!(read(&mut framing, &bad[wrong..=wrong]), (vec![], Err(Broken::NotUtf8)), "cannot any more");
    }
    let frame = masked(FINAL | Opcode::Text as u8, good.as_bytes(), mask);
    for size in 1..=frame.len() {
        let mut framing = Framing::default();
        let heard: Vec<_> = frame.chunks(size).flat_map(|part| read(&mut framing, part).0).collect();
        assert_eq!(heard, [format!("{:?}", Heard::Text(good.as_bytes()))], "in parts of {size}");
        assert!(framing.is_between());
    }
}

#[test]
fn a_server_writes_what_section_5_7_shows() {
    let mut out = Vec::new();
    write(&mut out, Opcode::Text, b"Hello");
    assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    for (len, head) in [(256, vec![0x82, 0x7e, 1, 0]), (65_536, vec![0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0])] {
        out.clear();
        write(&mut out, Opcode::Binary, &vec![0; len]);
        assert_eq!((&out[..head.len()], out.len()), (head.as_slice(), head.len() + len));
    }
    out.clear();
    write_close(&mut out, Some(1000), "bye");
    assert_eq!(out, [0x88, 5, 3, 232, b'b', b'y', b'e']);
    let mut hello = masked(0x81, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(hello, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58], "section 5.7");
    let result = Framing::default().read(&mut hello, BOUNDS, &mut |heard| heard == Heard::Text(b"Hello"));
    assert_eq!(result, Ok(()));
}
