//! What is wanted of the kernel, section by section. Of sections that want the same key the first counts.

use derive::{Part, Section};
use kernel::diff::side_by_side;
use kernel::{Key, Objects, Value};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<Section, Objects>);

impl Wanted {
    /// Makes `objects` all that is wanted of `section`; the keys of which something else is wanted now.
    pub fn put(&mut self, section: Section, objects: Objects) -> Vec<Key> {
        let before = self.0.insert(section, Objects::new()).unwrap_or_default();
        let differs = side_by_side(&before, &objects).filter(|(_, one, two)| one != two);
        let touched = differs.map(|(key, ..)| key.clone()).collect();
        self.0.insert(section, objects);
        touched
    }

    /// Makes a part of `section` what is wanted; the keys of which something else is wanted now.
    pub fn put_part(&mut self, section: Section, part: Part) -> Vec<Key> {
        let objects = self.0.entry(section).or_default();
        let mut touched = Vec::new();
        for (key, wanted) in part {
            match (objects.entry(key), wanted) {
                (Entry::Vacant(place), Some(wanted)) => {
                    touched.push(place.key().clone());
                    place.insert(wanted);
                }
                (Entry::Occupied(mut place), Some(wanted)) if *place.get() != wanted => {
                    touched.push(place.key().clone());
                    place.insert(wanted);
                }
                (Entry::Occupied(place), None) => touched.push(place.remove_entry().0),
                _ => {}
            }
        }
        touched
    }

    /// What is wanted under `key`.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.0.values().find_map(|objects| objects.get(key))
    }

    /// What is wanted of a section, once it was said.
    pub fn section(&self, section: Section) -> Option<&Objects> {
        self.0.get(&section)
    }

    /// All that is wanted; a key as often as there are sections that want it.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.values().flat_map(Objects::keys)
    }
}
