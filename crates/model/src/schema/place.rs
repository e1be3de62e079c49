//! Where a value stands inside an object, as a chain on the stack: it becomes text only when there is something to say.

use std::fmt;

/// A path like `spec.ingress[0].typo`.
#[derive(Clone, Copy, Debug)]
pub enum Place<'p> {
    /// Where the walk begins; empty for a whole object.
    Start(&'p str),
    /// A field of the object at a place.
    Field(&'p Place<'p>, &'p str),
    /// An item of the list at a place.
    Item(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Start(path) => f.write_str(path),
            Place::Field(Place::Start(""), name) => f.write_str(name),
            Place::Field(parent, name) => write!(f, "{parent}.{name}"),
            Place::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_reads_like_a_path() {
        let object = Place::Start("");
        let list = Place::Field(&object, "spec");
        let item = Place::Item(&list, 2);
        assert_eq!(Place::Field(&item, "typo").to_string(), "spec[2].typo");
        assert_eq!(Place::Field(&Place::Start("spec"), "cidr").to_string(), "spec.cidr");
    }
}
