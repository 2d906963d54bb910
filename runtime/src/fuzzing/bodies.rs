//! Bodies of messages: types that nest, lengths that lie, and elements that take no bytes.

use std::collections::BTreeMap;
use std::fmt::Debug;

use postcard_schema::Schema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Seeds;
use crate::wire::codec::{self, DEPTH_LIMIT};
use crate::wire::weight::WEIGHTLESS;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(i64),
    Pair(Box<Tree>, Box<Tree>),
    Named { inner: Box<Tree>, name: Option<String> },
    Many(Vec<Tree>),
    Table(BTreeMap<u8, Tree>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List {
    next: Option<Box<List>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    flag: bool,
    numbers: (i8, u16, i32, u64, i128),
    text: (char, String),
    bytes: Vec<u8>,
    rows: Vec<(u64, String)>,
    table: BTreeMap<String, Vec<u16>>,
    perhaps: Option<Option<u32>>,
}

/// Wide elements: what is set aside for a claimed length is many times the body.
type Wide = Vec<[u64; 16]>;

/// Nothing but lengths, all of which may be without end. The schema says so, so that messages of it are read with care.
#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Nothings {
    units: Vec<()>,
    rows: Vec<Vec<(Empty, [u8; 0])>>,
    table: BTreeMap<Empty, Option<Vec<Empty>>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Schema)]
struct Empty;

/// First which type, then the body.
pub(super) fn run(input: &[u8]) {
    let Some((which, body)) = input.split_first() else { return };
    match which % 6 {
        0 => {
            if let Some(tree) = judge::<Tree>(body, true) {
                assert!(depth(&tree) <= usize::from(DEPTH_LIMIT));
            }
        }
        1 => {
            if let Some(list) = judge::<List>(body, true) {
                let length = std::iter::successors(Some(&list), |list| list.next.as_deref()).count();
                assert!(length <= usize::from(DEPTH_LIMIT));
            }
        }
        2 => drop(judge::<Flat>(body, false)),
        3 => drop(judge::<Wide>(body, false)),
        5 => {
            if let Some(Nothings { units, rows, table }) = judge::<Nothings>(body, true) {
                let in_rows: usize = rows.iter().map(Vec::len).sum();
                let in_table: usize = table.values().flatten().map(Vec::len).sum();
                assert!(units.len() + in_rows + table.len() + in_table <= WEIGHTLESS);
            }
            assert_eq!(crate::schema::decode::<Nothings>(body), codec::decode_nested(body));
        }
        _ => drop(judge::<Vec<Vec<Vec<String>>>>(body, true)),
    }
}

fn judge<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8], nests: bool) -> Option<T> {
    let nested = codec::decode_nested::<T>(body);
    if !nests {
        // Without a limit to its depth it is read in the same way.
        assert_eq!(codec::decode::<T>(body), nested);
    }
    let value = nested.ok()?;
    let written = codec::encode(&value, 16 << 20);
    let Ok(written) = written else { panic!("what was read cannot be written: {written:?}") };
    assert!(written.len() <= body.len(), "a number has one shortest form, and nothing is left over");
    assert_eq!(codec::decode_nested::<T>(&written).as_ref(), Ok(&value));
    if !written.is_empty() {
        assert!(codec::encode(&value, written.len() - 1).is_err(), "it keeps to its limit");
        assert!(
            codec::decode_nested::<T>(&[&written[..], &[0]].concat()).is_err(),
            "nothing may be left over"
        );
    }
    Some(value)
}

fn depth(tree: &Tree) -> usize {
    let deepest = match tree {
        Tree::Leaf(_) => 0,
        Tree::Pair(left, right) => depth(left).max(depth(right)),
        Tree::Named { inner, .. } => depth(inner),
        Tree::Many(trees) => trees.iter().map(depth).max().unwrap_or_default(),
        Tree::Table(trees) => trees.values().map(depth).max().unwrap_or_default(),
    };
    deepest + 1
}

pub(super) fn seeds() -> Seeds {
    fn seed(which: u8, value: &impl Serialize) -> Vec<u8> {
        match codec::encode(value, 1 << 20) {
            Ok(body) => [vec![which], body].concat(),
            Err(error) => panic!("{error}"),
        }
    }
    let leaf = || Box::new(Tree::Leaf(-5));
    let tree = Tree::Many(vec![
        Tree::Pair(leaf(), leaf()),
        Tree::Named { inner: leaf(), name: Some("name".into()) },
        Tree::Table([(1, Tree::Leaf(1)), (2, Tree::Many(Vec::new()))].into()),
    ]);
    let list = (0..40).fold(List { next: None }, |list, _| List { next: Some(Box::new(list)) });
    let flat = Flat {
        flag: true,
        numbers: (-1, 2, -3, u64::MAX, i128::MIN),
        text: ('ß', "text".into()),
        bytes: vec![1, 2, 3],
        rows: vec![(1, "one".into()), (2, "two".into())],
        table: [("row".to_owned(), vec![1, 2, 3])].into(),
        perhaps: Some(None),
    };
    let nothings = Nothings {
        units: vec![(); 3],
        rows: vec![vec![], vec![(Empty, [])]],
        table: [(Empty, Some(vec![Empty]))].into(),
    };
    // Numbers of seven bits each; the last one without its upper bit.
    let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let claims =
        |which: u8, body: &[u8]| [&[which], body, &[0xff, 0xff, 0xff, 0xff, 0x0f], &[1; 20]].concat();
    vec![
        ("tree", seed(0, &tree)),
        ("list", seed(1, &list)),
        ("flat", seed(2, &flat)),
        ("wide", seed(3, &vec![[7_u64; 16]; 3])),
        ("rows", seed(4, &vec![vec![vec!["a".to_owned(), "b".into()]], Vec::new()])),
        ("nested-enums", [vec![0], vec![1; 300]].concat()),
        ("nested-options", [vec![1], vec![1; 300]].concat()),
        ("nested-sequences", [vec![0], [3, 1].repeat(150)].concat()),
        ("many-claims", [vec![0], [3, 100].repeat(60)].concat()),
        ("every-level-claims-all", [vec![0], [3, 0xa0, 0x1b].repeat(127), vec![1; 3500]].concat()),
        ("tree-claims-4-gi", claims(0, &[3])),
        ("table-claims-4-gi", claims(0, &[4])),
        ("wide-claims-4-gi", claims(3, &[])),
        ("rows-claim-4-gi", claims(4, &[1])),
        ("nothings", seed(5, &nothings)),
        ("nothings-without-end", [&[5][..], &endless].concat()),
        ("rows-of-nothings-without-end", [&[5, 0, 9][..], &endless].concat()),
        ("many-rows-of-nothings", [&[5, 0, 100][..], &[0xff, 0x7f].repeat(100), &[0]].concat()),
        ("keys-of-nothing-without-end", [&[5, 0, 0][..], &endless, &[0; 20]].concat()),
        ("not-utf-8", vec![4, 1, 1, 1, 2, 0xc3, 0x28]),
        ("long-number", vec![0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("left-over", vec![1, 0, 0]),
    ]
}
