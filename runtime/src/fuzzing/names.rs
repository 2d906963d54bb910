//! Names of actors, groups and systems: what is taken can be shown on a line, and leads nowhere else.

use super::Seeds;
use crate::process::capture_lines::escape;
use crate::spec::{check_name, is_path};
use crate::wire::place;

/// The name.
pub(super) fn run(input: &[u8]) {
    let Ok(name) = std::str::from_utf8(input) else { return };
    if is_path(name) {
        assert!(!name.is_empty() && name.split('/').all(|part| part.len() <= 100));
        assert_eq!(escape(input), name, "a name is shown as it is, on one line");
    }
    let part = check_name(name).is_ok();
    assert_eq!(part, is_path(name) && !name.contains('/'));
    if let Ok(socket) = place::socket_path("/run/user/1000/watertight".as_ref(), name) {
        let expected = format!("/run/user/1000/watertight/{name}/node.sock");
        assert_eq!(socket.as_os_str(), expected.as_str());
        assert!(expected.len() <= 107 && !name.contains('/') && !name.starts_with('.'));
        assert!(part, "a system's name would do for an actor too");
    }
}

pub(super) fn seeds() -> Seeds {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("name", text("shop")),
        ("path", text("shop/till/1")),
        ("spaces", text("my shop ß")),
        ("empty", Vec::new()),
        ("long", vec![b'x'; 100]),
        ("too-long", vec![b'x'; 101]),
        ("deep", "x/".repeat(40).into_bytes()),
        ("newline", text("a\nb")),
        ("escape", text("a\x1b[2J")),
        ("bidi", text("a\u{202e}b")),
        ("line-separator", text("a\u{2028}b")),
        ("up", text("../../etc")),
        ("dots", text("..")),
        ("hidden", text(".shop")),
        ("absolute", text("/tmp/shop")),
        ("nul", vec![b'a', 0, b'b']),
        ("not-utf-8", vec![b'a', 0xff]),
    ]
}
