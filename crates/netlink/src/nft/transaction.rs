//! The messages that turn tables into others, in an order that the kernel takes, as one transaction. Of each table:
//!
//! ```text
//!  new chains ─ rules, elements, sets, chains, counters out ─ chains made anew ─ counters, sets, elements, rules in
//! ```
//!
//! What refers to something else goes before it and comes after it. The kernel shows the new tables to packets as a whole.

use super::difference::Difference;
use super::numbers::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, ELEM_LIST_ELEMENTS, ELEM_LIST_SET, HOOK_HOOKNUM,
    HOOK_PRIORITY, NF_ACCEPT, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, OBJ_DATA, OBJ_NAME, OBJ_TYPE,
    OBJECT_COUNTER, RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, SET_NAME, SUBSYS_NFTABLES, TABLE_FLAGS, msg,
};
use super::{Change, expr, fingerprint, request, set};
use crate::message::Message;
use kernel::nft::{Chain, Element, Family, Fingerprint, Hook, HookPoint, Rule, Set, Table, TableKey};
use std::fmt;

/// The most bytes of elements in one message. An attribute's length is 16 bits wide.
const ELEMENTS_BYTES: usize = 48 * 1024;

/// A transaction: its messages, and what each is about.
pub(super) struct Transaction<'a> {
    messages: Vec<(&'a TableKey, Subject<'a>, Message)>,
    /// How many sets it makes. Their numbers are its own, whatever the table.
    sets: u32,
}

/// A transaction, at one of its tables.
struct Part<'t, 'a> {
    key: &'a TableKey,
    transaction: &'t mut Transaction<'a>,
}

/// What a message is about, to name it when the kernel refuses it.
enum Subject<'a> {
    Table,
    Counter(&'a str),
    Chain(&'a str),
    Rules(&'a str),
    Rule(&'a str, &'a Rule),
    Set(&'a str),
    /// Each with the offset in the message at which it ends.
    Elements(&'a str, Vec<(usize, &'a Element)>),
}

impl<'a> Transaction<'a> {
    /// What to send; `None` if nothing is to be done.
    pub(super) fn of(changes: &[Change<'a>]) -> Option<Transaction<'a>> {
        let mut transaction = Transaction { messages: Vec::new(), sets: 0 };
        for change in changes {
            Part { key: change.key, transaction: &mut transaction }.table(change.from, change.to);
        }
        (!transaction.messages.is_empty()).then_some(transaction)
    }

    /// How many messages there are between begin and end.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The bytes to send at once. The begin has the number `first`, the messages those that follow. The last of them asks
    /// for an answer: to the end itself the kernel answers only since 6.10.
    pub(super) fn bytes(&mut self, first: u32) -> Vec<u8> {
        let [high, low] = SUBSYS_NFTABLES.to_be_bytes();
        let mark = |kind, number| Message::new(kind, 0, &[0, 0, high, low]).stamped(number, false).to_vec();
        let mut bytes = mark(NFNL_MSG_BATCH_BEGIN, first);
        let count = self.messages.len();
        for (index, (.., message)) in self.messages.iter_mut().enumerate() {
            bytes.extend(message.stamped(number(first, index), index + 1 == count));
        }
        bytes.extend(mark(NFNL_MSG_BATCH_END, number(first, count)));
        bytes
    }

    /// What a message is about, by its index, at `offset` in it if the kernel points there; without an index, the whole.
    pub(super) fn describe(&self, index: Option<usize>, offset: Option<usize>) -> String {
        match index.and_then(|index| self.messages.get(index)) {
            None => {
                let mut tables: Vec<String> =
                    self.messages.iter().map(|(key, ..)| format!("table {key}")).collect();
                tables.dedup();
                tables.join(" and ")
            }
            Some((key, subject, _)) => format!("table {key}: {}", At { subject, offset }),
        }
    }
}

impl<'a> Part<'_, 'a> {
    fn table(&mut self, from: Option<&'a Table>, to: Option<&'a Table>) {
        match (from, to) {
            (None, None) => (),
            (Some(_), None) => self.message(msg::DELTABLE, 0, Subject::Table, |_| ()),
            (None, Some(to)) => {
                self.message(msg::NEWTABLE, CREATE_NEW, Subject::Table, |_| ());
                self.change(&EMPTY, to);
            }
            (Some(from), Some(to)) => {
                if from.dormant && !to.dormant {
                    self.message(msg::NEWTABLE, 0, Subject::Table, |m| m.push_be32(TABLE_FLAGS, 0));
                }
                self.change(from, to);
            }
        }
    }

    /// A message about something in the table; `body` writes what follows the table's name.
    fn message(&mut self, kind: u8, flags: u16, subject: Subject<'a>, body: impl FnOnce(&mut Message)) {
        let mut message = request(kind, flags, self.key);
        body(&mut message);
        self.transaction.messages.push((self.key, subject, message));
    }

    fn change(&mut self, from: &'a Table, to: &'a Table) {
        let difference = Difference::between(from, to);
        for (name, chain) in difference.chains_in.iter().filter(|(name, _)| !from.chains.contains_key(*name))
        {
            self.add_chain(name, chain);
        }
        for name in &difference.rules_out {
            self.message(msg::DELRULE, 0, Subject::Rules(name), |m| m.push_text(RULE_CHAIN, name));
        }
        for (name, set, elements) in &difference.elements_out {
            self.elements(msg::DELSETELEM, 0, name, set, elements);
        }
        for name in &difference.sets_out {
            self.message(msg::DELSET, 0, Subject::Set(name), |m| m.push_text(SET_NAME, name));
        }
        for name in &difference.chains_out {
            self.message(msg::DELCHAIN, 0, Subject::Chain(name), |m| m.push_text(CHAIN_NAME, name));
        }
        for name in from.counters.difference(&to.counters) {
            self.message(msg::DELOBJ, 0, Subject::Counter(name), |m| counter(m, name));
        }
        for (name, chain) in difference.chains_in.iter().filter(|(name, _)| from.chains.contains_key(*name)) {
            self.add_chain(name, chain);
        }
        for name in to.counters.difference(&from.counters) {
            self.message(msg::NEWOBJ, CREATE_NEW, Subject::Counter(name), |m| {
                counter(m, name);
                m.push_nest(OBJ_DATA, |_| ());
            });
        }
        for (name, set) in &difference.sets_in {
            self.transaction.sets += 1;
            let id = self.transaction.sets;
            self.message(msg::NEWSET, CREATE_NEW, Subject::Set(name), |m| {
                m.push_text(SET_NAME, name);
                set::describe(m, set, id);
            });
        }
        for (name, set, elements) in &difference.elements_in {
            self.elements(msg::NEWSETELEM, CREATE, name, set, elements);
        }
        for (chain, rules) in &difference.rules_in {
            for rule in *rules {
                self.message(msg::NEWRULE, APPEND, Subject::Rule(chain, rule), |m| {
                    m.push_text(RULE_CHAIN, chain);
                    m.push_nest(RULE_EXPRESSIONS, |m| expr::expressions(m, rule));
                    m.push(RULE_USERDATA, &fingerprint::encode(Fingerprint::of(rule)));
                });
            }
        }
    }

    fn add_chain(&mut self, name: &'a str, chain: &'a Chain) {
        let family = self.key.family;
        self.message(msg::NEWCHAIN, CREATE_NEW, Subject::Chain(name), |m| {
            m.push_text(CHAIN_NAME, name);
            if let Some(hook) = &chain.hook {
                write_hook(m, family, hook);
            }
        });
    }

    /// Elements of one set, in as many messages as they need.
    fn elements(&mut self, kind: u8, flags: u16, name: &'a str, set: &Set, elements: &[&'a Element]) {
        let mut rest = elements.iter();
        while rest.len() > 0 {
            let mut taken = Vec::new();
            let mut message = request(kind, flags, self.key);
            message.push_text(ELEM_LIST_SET, name);
            let start = message.len();
            message.push_nest(ELEM_LIST_ELEMENTS, |m| {
                while m.len() - start < ELEMENTS_BYTES
                    && let Some(element) = rest.next()
                {
                    set::element(m, set, element);
                    taken.push((m.len(), *element));
                }
            });
            self.transaction.messages.push((self.key, Subject::Elements(name, taken), message));
        }
    }
}

/// What an absent table is compared with.
static EMPTY: Table = Table::EMPTY;

/// The number of the message with this index, when the begin has the number `first`.
pub(super) fn number(first: u32, index: usize) -> u32 {
    let index = u32::try_from(index).expect("a transaction has fewer than 2^32 messages");
    first.wrapping_add(1).wrapping_add(index)
}

/// To create what must not exist.
const CREATE_NEW: u16 = CREATE | libc::NLM_F_EXCL as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = CREATE | libc::NLM_F_APPEND as u16;

fn counter(m: &mut Message, name: &str) {
    m.push_text(OBJ_NAME, name);
    m.push_be32(OBJ_TYPE, OBJECT_COUNTER);
}

fn write_hook(m: &mut Message, family: Family, hook: &Hook) {
    m.push_nest(CHAIN_HOOK, |m| {
        m.push_be32(HOOK_HOOKNUM, hook_number(family, hook.point));
        m.push(HOOK_PRIORITY, &hook.priority.to_be_bytes());
    });
    m.push_be32(CHAIN_POLICY, NF_ACCEPT);
    m.push_text(CHAIN_TYPE, &hook.chain_type.to_string());
}

const HOOKS: [HookPoint; 5] =
    [HookPoint::Prerouting, HookPoint::Input, HookPoint::Forward, HookPoint::Output, HookPoint::Postrouting];

/// `enum nf_inet_hooks`, and `NF_ARP_IN` and `NF_ARP_OUT`. No number for what the family does not have.
fn numbered(family: Family, point: HookPoint) -> Option<u32> {
    let inet = HOOKS.iter().position(|known| *known == point).and_then(|at| u32::try_from(at).ok());
    match (family, point) {
        (Family::Arp, HookPoint::Input) => Some(0),
        (Family::Arp, HookPoint::Output) => Some(1),
        (Family::Arp, _) => None,
        (Family::Inet, _) => inet,
    }
}

fn hook_number(family: Family, point: HookPoint) -> u32 {
    match point {
        HookPoint::Other(number) => number,
        _ => numbered(family, point).expect("a chain is hooked where its family has hooks"),
    }
}

pub(super) fn hook_point(family: Family, number: u32) -> HookPoint {
    let known = HOOKS.into_iter().find(|point| numbered(family, *point) == Some(number));
    known.unwrap_or(HookPoint::Other(number))
}

/// A subject, at an offset in its message.
struct At<'s, 'a> {
    subject: &'s Subject<'a>,
    offset: Option<usize>,
}

impl fmt::Display for At<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Table => f.write_str("the table itself"),
            Subject::Counter(name) => write!(f, "counter {name}"),
            Subject::Chain(name) => write!(f, "chain {name}"),
            Subject::Rules(chain) => write!(f, "the rules of chain {chain}"),
            Subject::Rule(chain, rule) => write!(f, "rule `{rule}` of chain {chain}"),
            Subject::Set(name) => write!(f, "set {name}"),
            Subject::Elements(set, elements) => {
                let at = self.offset.and_then(|offset| elements.iter().find(|(end, _)| offset < *end));
                match (at, elements.as_slice()) {
                    (Some((_, element)), _) | (None, [(_, element)]) => {
                        write!(f, "element {element} of set {set}")
                    }
                    (None, elements) => write!(f, "one of {} elements of set {set}", elements.len()),
                }
            }
        }
    }
}
