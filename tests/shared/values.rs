//! What nobody holds: counters, values, values by key, attributes.

use watertight_actors::SharedError;
use watertight_actors::counter::Counter;
use watertight_actors::key_value::{KeyValue, Limits};
use watertight_actors::namespace::Namespace;
use watertight_actors::value::Value;

use super::user::{Deed, begins, does, ends, users};
use super::*;

#[test]
fn no_addition_of_several_processes_is_lost() {
    watertight::test(async |sys| {
        let counter = Counter::start(&sys, 0).await?;
        let value = Value::start(&sys, 1_u64).await?;
        let counts = KeyValue::<String, i64>::start(&sys).await?;
        let users: [_; 3] = users(&sys).await?;
        for user in &users {
            begins(user, Deed::Double(value.clone())).await?;
        }
        for user in &users {
            ends(user).await?;
            begins(user, Deed::Count(counts.clone(), "all".into())).await?;
        }
        for user in &users {
            ends(user).await?;
            does(user, Deed::Add(counter.clone(), 2)).await?;
        }
        let mine = futures(&counter, &counts);
        mine.await?;
        assert_eq!(counter.get().await?, 6 + 20);
        assert_eq!(value.get().await?, 8);
        assert_eq!(counts.get(&"all".into()).await?, Some(3 + 20));
        Ok(())
    });
}

/// Many at once, so that they meet.
async fn futures(counter: &Counter, counts: &KeyValue<String, i64>) -> Result<()> {
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (counter, counts) = (counter.clone(), counts.clone());
        tasks.push(tokio::spawn(async move {
            counter.add(1).await?;
            counts.add(&"all".into(), 1).await
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

#[test]
fn a_counter_is_set_only_over_what_was_expected_and_does_not_overflow() {
    watertight::test(async |sys| {
        let counter = Counter::start(&sys, 5).await?;
        assert_eq!(counter.compare_and_set(4, 6).await?, Err(5));
        assert_eq!(counter.compare_and_set(5, i64::MAX).await?, Ok(()));
        assert!(matches!(counter.add(1).await, Err(SharedError::Ask(AskError::Failed(_)))));
        assert_eq!(counter.set(-1).await?, i64::MAX);
        assert_eq!(counter.get().await?, -1);
        Ok(())
    });
}

#[test]
fn a_value_is_written_over_the_version_that_was_read_also_across_restarts() {
    watertight::test(async |sys| {
        let value = Value::start(&sys, "first".to_string()).await?;
        let (_, version) = value.read().await?;
        let newer = value.set(&"second".into()).await?;
        assert_eq!(value.compare_and_set(version, &"third".into()).await?, Err(newer));
        let newest = value.compare_and_set(newer, &"third".into()).await?.unwrap();
        let mut events = sys.events().await?;
        kill(&sys, value.address()).await?;
        events.started(value.address(), 2).await?;
        assert_eq!(value.get().await?, "first");
        assert!(value.compare_and_set(newest, &"fourth".into()).await?.is_err());
        Ok(())
    });
}

#[test]
fn values_by_key_keep_their_types_and_their_limits() {
    watertight::test(async |sys| {
        let limits = Limits { entries: 2, bytes: 100 };
        let spec = KeyValue::<(u8, String), Vec<u8>>::spec(limits).with(|spec| spec.name("pictures"));
        let pictures = KeyValue::start_with(&sys, spec).await?;
        let key = |n: u8| (n, "picture".to_string());
        assert_eq!(pictures.insert(&key(1), &vec![1; 10]).await?, None);
        assert_eq!(pictures.insert(&key(1), &vec![2; 10]).await?, Some(vec![1; 10]));
        assert!(matches!(pictures.insert(&key(2), &vec![0; 90]).await, Err(SharedError::Full)));
        pictures.insert(&key(2), &vec![3; 10]).await?;
        assert!(matches!(pictures.insert(&key(3), &vec![]).await, Err(SharedError::Full)));
        assert_eq!((pictures.len().await?, pictures.contains(&key(2)).await?), (2, true));
        assert_eq!(pictures.keys().await?, [key(1), key(2)]);
        let seen = pictures.get(&key(1)).await?;
        let refused = pictures.compare_and_set(&key(1), None, Some(&vec![])).await?;
        assert_eq!(refused, Err(seen.clone()));
        assert_eq!(pictures.compare_and_set(&key(1), seen.as_ref(), None).await?, Ok(()));
        assert_eq!(pictures.entries().await?, [(key(2), vec![3; 10])]);
        assert_eq!(pictures.remove(&key(2)).await?, Some(vec![3; 10]));
        assert!(pictures.is_empty().await?);
        let other = KeyValue::<(u8, String), String>::find(&sys, "pictures").await;
        assert!(matches!(other, Err(SharedError::OtherType { .. })), "{other:?}");
        Ok(())
    });
}

#[test]
fn an_attribute_is_read_as_what_it_was_set() {
    watertight::test(async |sys| {
        let namespace = Namespace::start(&sys).await?;
        let [user] = users(&sys).await?;
        does(&user, Deed::Name(namespace.clone(), "size".into(), 3)).await?;
        kill(&sys, &user).await?;
        assert_eq!(namespace.get::<u64>("size").await?, Some(3));
        let other = namespace.get::<i64>("size").await;
        assert!(matches!(other, Err(SharedError::OtherType { .. })), "{other:?}");
        namespace.set("size", &"large".to_string()).await?;
        assert_eq!(namespace.get::<String>("size").await?.as_deref(), Some("large"));
        assert_eq!(namespace.names().await?, ["size"]);
        assert!(namespace.remove("size").await? && namespace.get::<u64>("size").await?.is_none());
        Ok(())
    });
}
