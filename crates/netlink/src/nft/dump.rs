//! Our tables as the kernel has them.

use super::numbers::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_TYPE, COUNTER_BYTES, COUNTER_PACKETS, ELEM_LIST_ELEMENTS, ELEM_LIST_SET,
    HOOK_HOOKNUM, HOOK_PRIORITY, LIST_ELEM, OBJ_DATA, OBJ_NAME, OBJ_TYPE, OBJECT_COUNTER, RULE_CHAIN,
    RULE_USERDATA, SET_DATA_TYPE, SET_F_ANONYMOUS, SET_F_CONCAT, SET_F_INTERVAL, SET_F_MAP, SET_FLAGS,
    SET_KEY_TYPE, SET_NAME, TABLE, TABLE_F_DORMANT, TABLE_FLAGS, TYPE_VERDICT, msg,
};
use super::transaction::hook_point;
use super::{family_number, fingerprint, nf_tables, our_tables, request, set};
use crate::message::{Attributes, Message};
use crate::socket::{Refusal, Socket};
use kernel::nft::{Chain, ChainType, Element, Fingerprint, Hook, Rules, Set, Table, TableKey, Type};
use std::collections::{BTreeMap, BTreeSet};

/// How often a set is read that does not hold still.
const TRIES: usize = 20;

/// What a named counter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// Reads `inet calico` and `arp calico`, each if it is there. Rules are known by their fingerprints; sets of a kind that we
/// do not write come without elements; anonymous sets belong to their rules and are left out.
///
/// # Errors
/// If the kernel refuses, or the tables change all the time.
pub fn dump(socket: &mut Socket) -> Result<BTreeMap<TableKey, Table>, Refusal> {
    let mut tables = BTreeMap::new();
    for key in our_tables() {
        if let Some(table) = (Reader { socket, key: &key }).table()? {
            tables.insert(key, table);
        }
    }
    Ok(tables)
}

/// Reads the named counters of a table; empty if there is no such table.
///
/// # Errors
/// As [`dump`].
pub fn counters(socket: &mut Socket, key: &TableKey) -> Result<BTreeMap<String, Count>, Refusal> {
    Reader { socket, key }.counters()
}

struct Reader<'a> {
    socket: &'a mut Socket,
    key: &'a TableKey,
}

impl Reader<'_> {
    fn table(&mut self) -> Result<Option<Table>, Refusal> {
        let Some(flags) = self.flags()? else { return Ok(None) };
        let mut table = Table {
            dormant: flags & TABLE_F_DORMANT != 0,
            counters: self.counters()?.into_keys().collect(),
            sets: self.sets()?,
            chains: self.chains()?,
        };
        for (chain, fingerprint) in self.rules()? {
            if let Some(Chain { rules: Rules::Found(rules), .. }) = table.chains.get_mut(&chain) {
                rules.push(fingerprint);
            }
        }
        Ok(Some(table))
    }

    /// The table's flags; `None` if there is none.
    fn flags(&mut self) -> Result<Option<u32>, Refusal> {
        match self.socket.ask(request(msg::GETTABLE, 0, self.key)) {
            Ok(body) => Ok(Some(Attributes::after(&body, 4).be32(TABLE_FLAGS).unwrap_or(0))),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
            Err(refusal) => Err(self.reading("flags", refusal)),
        }
    }

    fn counters(&mut self) -> Result<BTreeMap<String, Count>, Refusal> {
        let ask = |m: &mut Message| m.push_be32(OBJ_TYPE, OBJECT_COUNTER);
        let counters = self.list("counters", msg::GETOBJ, ask, |attrs| {
            if attrs.be32(OBJ_TYPE) != Some(OBJECT_COUNTER) {
                return None;
            }
            let data = attrs.nested(OBJ_DATA)?;
            let count = Count { packets: data.be64(COUNTER_PACKETS)?, bytes: data.be64(COUNTER_BYTES)? };
            Some((attrs.text(OBJ_NAME)?.to_owned(), count))
        })?;
        Ok(counters.into_iter().collect())
    }

    fn chains(&mut self) -> Result<BTreeMap<String, Chain>, Refusal> {
        let chains = self.list(
            "chains",
            msg::GETCHAIN,
            |_| (),
            |attrs| {
                let hook = attrs.nested(CHAIN_HOOK).and_then(|hook| {
                    Some(Hook {
                        chain_type: match attrs.text(CHAIN_TYPE)? {
                            "filter" => ChainType::Filter,
                            "nat" => ChainType::Nat,
                            other => ChainType::Other(other.to_owned()),
                        },
                        point: hook_point(self.key.family, hook.be32(HOOK_HOOKNUM)?),
                        priority: hook.be32(HOOK_PRIORITY)?.cast_signed(),
                    })
                });
                Some((attrs.text(CHAIN_NAME)?.to_owned(), Chain { hook, rules: Rules::Found(Vec::new()) }))
            },
        )?;
        Ok(chains.into_iter().collect())
    }

    /// Chain and fingerprint of each rule, in order.
    fn rules(&mut self) -> Result<Vec<(String, Option<Fingerprint>)>, Refusal> {
        self.list(
            "rules",
            msg::GETRULE,
            |_| (),
            |attrs| {
                let userdata = attrs.get(RULE_USERDATA).unwrap_or_default();
                Some((attrs.text(RULE_CHAIN)?.to_owned(), fingerprint::decode(userdata)))
            },
        )
    }

    fn sets(&mut self) -> Result<BTreeMap<String, Set>, Refusal> {
        let found = self.list(
            "sets",
            msg::GETSET,
            |_| (),
            |attrs| {
                let flags = attrs.be32(SET_FLAGS).unwrap_or(0);
                if flags & SET_F_ANONYMOUS != 0 {
                    return None;
                }
                Some((attrs.text(SET_NAME)?.to_owned(), empty_set(attrs, flags)))
            },
        )?;
        let mut sets = BTreeMap::new();
        for (name, mut set) in found {
            if !set.key.iter().any(|key_type| matches!(key_type, Type::Other(_))) {
                match self.elements(&name, &set)? {
                    Some(elements) => set.elements = elements,
                    None => set.key = vec![Type::Other(0)],
                }
            }
            sets.insert(name, set);
        }
        Ok(sets)
    }

    /// Reads the elements of a set until two readings agree: while a hash table grows, which it does some time after its
    /// elements came, the kernel's place in it slips from one datagram of a dump to the next, and elements are skipped.
    /// `None` if there are elements that no set of ours holds.
    fn elements(&mut self, name: &str, set: &Set) -> Result<Option<BTreeSet<Element>>, Refusal> {
        let mut before = self.elements_once(name, set)?;
        if set.interval {
            return Ok(before);
        }
        for _ in 0..TRIES {
            let again = self.elements_once(name, set)?;
            if again == before {
                return Ok(again);
            }
            before = again;
        }
        Err(Refusal {
            errno: libc::EAGAIN,
            text: format!("set {name} of table {} changes faster than it can be read", self.key),
        })
    }

    fn elements_once(&mut self, name: &str, set: &Set) -> Result<Option<BTreeSet<Element>>, Refusal> {
        let ask = |m: &mut Message| m.push_text(ELEM_LIST_SET, name);
        let parts = self.list("elements", msg::GETSETELEM, ask, |attrs| {
            let list = attrs.nested(ELEM_LIST_ELEMENTS)?;
            let elements = list.filter(|(number, _)| *number == LIST_ELEM);
            Some(
                elements
                    .map(|(_, element)| set::found(Attributes::after(element, 0)))
                    .collect::<Option<Vec<_>>>(),
            )
        })?;
        let found = parts.into_iter().collect::<Option<Vec<_>>>();
        Ok(found
            .and_then(|parts| set::elements(&set.key, set.interval, parts.into_iter().flatten().collect())))
    }

    /// Dumps objects of one kind and reads those of this table. A table or set that goes meanwhile holds nothing.
    fn list<T>(
        &mut self,
        what: &str,
        kind: u8,
        ask: impl Fn(&mut Message),
        read: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        let (family, table) = (family_number(self.key.family), self.key.name.as_str());
        let mut question = request(kind, libc::NLM_F_DUMP as u16, self.key);
        ask(&mut question);
        let listed = self.socket.dump(question, Vec::new, |found, message| {
            let attrs = nf_tables(&message).filter(|(_, of, _)| *of == family).map(|(_, _, attrs)| attrs);
            found.extend(attrs.filter(|attrs| attrs.text(TABLE) == Some(table)).and_then(&read));
        });
        match listed {
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(Vec::new()),
            listed => listed.map_err(|refusal| self.reading(what, refusal)),
        }
    }

    fn reading(&self, what: &str, Refusal { errno, text }: Refusal) -> Refusal {
        Refusal { errno, text: format!("reading the {what} of table {}: {text}", self.key) }
    }
}

/// A set without its elements. One with a property that ours do not have counts as of an unknown type.
fn empty_set(attrs: Attributes<'_>, flags: u32) -> Set {
    const KNOWN: u32 = SET_F_INTERVAL | SET_F_MAP | SET_F_CONCAT;
    let verdicts = flags & SET_F_MAP != 0;
    let foreign = flags & !KNOWN != 0 || verdicts && attrs.be32(SET_DATA_TYPE) != Some(TYPE_VERDICT);
    let mut set = Set {
        key: set::types(attrs.be32(SET_KEY_TYPE).unwrap_or(0)),
        interval: flags & SET_F_INTERVAL != 0,
        verdicts,
        elements: BTreeSet::new(),
    };
    if foreign || set::flags(&set) != flags {
        set.key = vec![Type::Other(0)];
    }
    set
}
