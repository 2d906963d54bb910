#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn nobody_can_cut_off_the_page_and_nothing_else_is_opened_as_one() {
    let (page, file) = Recorder::create().unwrap();
    let opened = Recorder::open(file.try_clone().unwrap()).unwrap();
    for size in [0, BYTES as u64 - 1, BYTES as u64 * 2] {
        assert_eq!(rustix::fs::ftruncate(&file, size), Err(rustix::io::Errno::PERM));
    }
    opened.add_progress();
    opened.set_parked(true);
    assert_eq!((page.progress(), page.is_parked()), (1, true));

    let memory = |size, seals| {
        let file = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&file, size).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file
    };
    let refusal = |file| Recorder::open(file).unwrap_err().to_string();
    assert!(refusal(memory(BYTES as u64, SealFlags::GROW)).contains("not sealed"));
    assert!(refusal(memory(4096, SEALS)).contains("another size"));
    assert!(refusal(memory(BYTES as u64, SEALS)).contains("another layout"));
    assert!(refusal(rustix::pipe::pipe().unwrap().0).contains("not a memory file"));
}
