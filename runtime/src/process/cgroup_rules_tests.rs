#![allow(clippy::unwrap_used)]

use super::*;

const HYBRID: &str = "\
9:name=systemd:/
4:memory:/some/group
1:cpu:/
0::/user.slice/session 3.scope
";

#[test]
fn a_place_is_the_one_of_version_2() {
    assert_eq!(place(HYBRID), Some("/user.slice/session 3.scope"));
    assert_eq!(place("0::/\n"), Some("/"));
    assert_eq!(place("4:memory:/a\n10::/b\n"), None);
}

#[test]
fn a_hierarchy_is_found_where_it_is_mounted() {
    let hybrid = "\
36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    let found = |text, place| directory(text, place).map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(found(hybrid, "/"), Some("/sys/fs/cgroup/unified".into()));
    assert_eq!(found(hybrid, "/a/b.scope"), Some("/sys/fs/cgroup/unified/a/b.scope".into()));
    let only_version_1 = hybrid.lines().next().unwrap();
    assert_eq!(found(only_version_1, "/"), None);
}

#[test]
fn a_mount_of_a_part_shows_what_is_in_that_part() {
    let part = "41 31 0:38 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
    let found = |text: &str, place| directory(text, place).map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(found(part, "/docker/abc"), Some("/sys/fs/cgroup".into()));
    assert_eq!(found(part, "/docker/abc/d"), Some("/sys/fs/cgroup/d".into()));
    assert_eq!(found(part, "/docker/abcd"), None);
    assert_eq!(found(part, "/"), None);
    let also_writable = format!("{part}42 31 0:38 / /mnt/all\\040groups rw - cgroup2 cgroup rw\n");
    assert_eq!(found(&also_writable, "/docker/abc"), Some("/mnt/all groups/docker/abc".into()));
    assert_eq!(found(&also_writable, "/../elsewhere"), None, "it is outside of the namespace");
}

#[test]
fn who_is_in_a_group_or_below_it_is_seen_by_the_end_of_its_path() {
    let mark = "/watertight-7-ab/3.1";
    for inside in ["/watertight-7-ab/3.1", "/a/watertight-7-ab/3.1/own", "/a/watertight-7-ab/3.1 (deleted)"] {
        assert!(is_within(&format!("4:memory:/\n0::{inside}\n"), mark), "{inside}");
    }
    for outside in ["/", "/watertight-7-ab", "/watertight-7-ab/3.12", "/watertight-7-abc/3.1", "/3.1"] {
        assert!(!is_within(&format!("0::{outside}\n"), mark), "{outside}");
    }
    assert!(!is_within("4:memory:/watertight-7-ab/3.1\n", mark), "version 1 is no matter of ours");
}

#[test]
fn names_tell_a_programs_groups_from_its_own_leaf() {
    assert!(
        is_of_a_program("watertight-12-ab3") && !is_of_a_program(OWN_LEAF) && !is_of_a_program("user.slice")
    );
    assert_eq!(name_of_life("ab3.4.1"), "4.1");
    assert_eq!(outside_own_leaf(Path::new("/a/b/watertight-supervisor")), Path::new("/a/b"));
    assert_eq!(outside_own_leaf(Path::new("/a/b")), Path::new("/a/b"));
    assert_eq!(common(Path::new("/a/b/c"), Path::new("/a/b/d/e")), Path::new("/a/b"));
    assert_eq!(common(Path::new("/a/b"), Path::new("/a/bc")), Path::new("/a"));
}

#[test]
fn what_is_asked_for_is_said_by_a_variable() {
    assert_eq!(Cgroup::said(None), Ok(None));
    assert_eq!(Cgroup::said(Some("off")), Ok(Some(Cgroup::Off)));
    assert_eq!(Cgroup::said(Some("auto")), Ok(Some(Cgroup::Auto)));
    assert_eq!(Cgroup::said(Some("/a/b")), Ok(Some(Cgroup::At("/a/b".into()))));
    assert!(Cgroup::said(Some("a/b")).unwrap_err().to_string().contains("WATERTIGHT_CGROUP is \"a/b\""));
}

#[test]
fn only_what_has_a_controller_is_written() {
    let limits =
        Limits { memory: Some(64 << 20), processes: Some(20), cpu_share: Some(150), ..Limits::default() };
    let all = Controllers::of("cpuset cpu io memory hugetlb pids rdma");
    assert_eq!(all.names().collect::<Vec<_>>(), ["memory", "pids", "cpu"]);
    let written: Vec<_> =
        settings(&limits, all).into_iter().map(|it| (it.file, it.value, it.is_optional)).collect();
    assert_eq!(
        written,
        [
            ("memory.max", "67108864".to_owned(), false),
            ("memory.swap.max", "0".to_owned(), true),
            ("memory.oom.group", "1".to_owned(), false),
            ("pids.max", "20".to_owned(), false),
            ("cpu.max", "150000 100000".to_owned(), false),
        ]
    );
    assert_eq!(settings(&limits, Controllers::of("cpuset")), []);
    assert_eq!(settings(&Limits::default(), all), []);
}

#[test]
fn what_only_a_group_could_keep_is_lacking_without_its_controller() {
    let (none, pids) = (Controllers::default(), Controllers::of("pids"));
    let processes = Limits { processes: Some(20), ..Limits::default() };
    assert_eq!((none.lack(&processes), pids.lack(&processes)), (Some("a number of processes"), None));
    let share = Limits { cpu_share: Some(20), ..Limits::default() };
    assert_eq!(pids.lack(&share), Some("a share of a processor"));
    // The process keeps to it by itself.
    assert_eq!(none.lack(&Limits { memory: Some(1 << 30), no_processes: true, ..Limits::default() }), None);
}

#[test]
fn events_are_read_by_their_whole_names() {
    let events = "low 0\nhigh 0\nmax 31\noom 4\noom_kill 3\noom_group_kill 1\n";
    assert_eq!(killed_for_memory(events), 3);
    assert_eq!(killed_for_memory("oom_group_kill 1\n"), 0);
    assert!(is_populated("populated 1\nfrozen 0\n") && !is_populated("populated 0\nfrozen 0\n"));
    assert!(is_populated(""), "what is not known is not empty");
}
