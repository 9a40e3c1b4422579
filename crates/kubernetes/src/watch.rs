//! Watches of one object, or of a handful of small ones, that survive the API server.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// What a watch shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<T> {
    /// What is there now.
    Now(T),
    /// The API server could not be asked, and why; it is asked again after a pause that grows up to half a minute.
    Lost(String),
}

/// The object with this name as it is now, and at each change; `None` while it is not there. Ends only when it is dropped.
pub fn object<K>(api: Api<K>, name: &str) -> impl Stream<Item = Seen<Option<K>>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    collection(api, Config::default().fields(&format!("metadata.name={name}")))
        .map(|seen| match seen {
            Seen::Now(mut objects) => Seen::Now(objects.pop_first().map(|(_, object)| object)),
            Seen::Lost(why) => Seen::Lost(why),
        })
        .boxed()
}

/// All objects by name as they are now, and at each change. All of them are held in memory, so this is for few and small ones.
pub fn collection<K>(api: Api<K>, config: Config) -> impl Stream<Item = Seen<BTreeMap<String, K>>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut objects = BTreeMap::new();
    let mut listed = BTreeMap::new();
    watcher(api, config)
        .default_backoff()
        .filter_map(move |event| {
            let shown = match event {
                Ok(event) => take(&mut objects, &mut listed, event).then(|| Seen::Now(objects.clone())),
                Err(error) => Some(Seen::Lost(innermost(&error))),
            };
            futures::future::ready(shown)
        })
        .boxed()
}

/// Takes in one event; whether there is something new to show.
fn take<K: Resource>(objects: &mut BTreeMap<String, K>, listed: &mut BTreeMap<String, K>, event: Event<K>) -> bool {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => drop(listed.insert(object.name_any(), object)),
        Event::InitDone => {
            *objects = std::mem::take(listed);
            return true;
        }
        Event::Apply(object) => {
            objects.insert(object.name_any(), object);
            return true;
        }
        Event::Delete(object) => return objects.remove(&object.name_any()).is_some(),
    }
    false
}

/// The cause at the bottom says what people can act on; what is above it repeats it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut source = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn named(name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map
    }

    #[test]
    fn a_new_list_replaces_what_was_known_as_a_whole_and_only_when_it_is_complete() {
        let (mut objects, mut listed) = (BTreeMap::new(), BTreeMap::new());
        let mut take = |event| {
            let new = take(&mut objects, &mut listed, event);
            (new, objects.keys().cloned().collect::<Vec<String>>())
        };
        assert_eq!(take(Event::Apply(named("a"))), (true, vec!["a".to_owned()]));
        assert_eq!(take(Event::Init), (false, vec!["a".to_owned()]));
        assert_eq!(take(Event::InitApply(named("b"))), (false, vec!["a".to_owned()]));
        assert_eq!(take(Event::InitDone), (true, vec!["b".to_owned()]));
        assert_eq!(take(Event::Delete(named("b"))), (true, vec![]));
        assert_eq!(take(Event::Delete(named("b"))), (false, vec![]));
    }
}
