//! The AS path (RFC 4271 §5.1.2): the systems that a route came through, nearest first.

use super::super::cursor::{Reader, Writer};
use super::super::misbehaved::Misbehaved;
use super::super::open::AS_TRANS;
use super::code;
use model::Asn;
use std::fmt;

/// A part of an AS path. It has at least one AS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// In any order: a route that was aggregated from several.
    Set(Vec<Asn>),
    /// One after the other.
    Sequence(Vec<Asn>),
}

/// The systems that a route came through. Empty for routes of our own AS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath {
    segments: Vec<Segment>,
}

impl Segment {
    /// The members.
    pub fn asns(&self) -> &[Asn] {
        match self {
            Segment::Set(asns) | Segment::Sequence(asns) => asns,
        }
    }

    /// What it counts when paths are compared: a set is one hop (RFC 4271 §9.1.2.2 a).
    fn hops(&self) -> usize {
        match self {
            Segment::Set(_) => 1,
            Segment::Sequence(asns) => asns.len(),
        }
    }
}

impl AsPath {
    /// Paths with more hops than this are not believed.
    pub const MAX_HOPS: usize = 1000;
    /// A segment's members are counted in one octet.
    pub(crate) const MAX_SEGMENT: usize = 255;

    /// A path of segments; those without an AS are left out.
    pub fn new(segments: impl IntoIterator<Item = Segment>) -> AsPath {
        AsPath { segments: segments.into_iter().filter(|segment| !segment.asns().is_empty()).collect() }
    }

    /// A path of one sequence.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> AsPath {
        AsPath::new([Segment::Sequence(asns.into_iter().collect())])
    }

    /// The segments, nearest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the route is of our own AS.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The length that the decision process compares.
    pub fn hops(&self) -> usize {
        self.segments.iter().map(Segment::hops).sum()
    }

    /// Every AS in the path.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.segments.iter().flat_map(|segment| segment.asns().iter().copied())
    }

    /// Whether `asn` is in the path.
    pub fn contains(&self, asn: Asn) -> bool {
        self.asns().any(|member| member == asn)
    }

    /// How often `asn` is in the path.
    pub fn count(&self, asn: Asn) -> usize {
        self.asns().filter(|member| *member == asn).count()
    }

    /// The neighbouring AS, if the path begins with a sequence.
    pub fn first(&self) -> Option<Asn> {
        match self.segments.first() {
            Some(Segment::Sequence(asns)) => asns.first().copied(),
            _ => None,
        }
    }

    /// The AS that the route began in, if the path ends with a sequence.
    pub fn last(&self) -> Option<Asn> {
        match self.segments.last() {
            Some(Segment::Sequence(asns)) => asns.last().copied(),
            _ => None,
        }
    }

    /// Puts `asn` in front (RFC 4271 §5.1.2 b).
    pub fn prepend(&mut self, asn: Asn) {
        match self.segments.first_mut() {
            Some(Segment::Sequence(asns)) if asns.len() < AsPath::MAX_SEGMENT => asns.insert(0, asn),
            _ => self.segments.insert(0, Segment::Sequence(vec![asn])),
        }
    }
}

const SET: u8 = 1;
const SEQUENCE: u8 = 2;
/// AS_CONFED_SET (RFC 5065 §3); AS_CONFED_SEQUENCE is 3.
const CONFED_SET: u8 = 4;

/// The next segment: its type and members. The error says what was wrong with the attribute `code`.
fn segment(r: &mut Reader<'_>, four_octet: bool, code: u8) -> Result<(u8, Vec<Asn>), Misbehaved> {
    let cut_off = Misbehaved::SegmentLength { code };
    let (kind, count) = (r.u8().ok_or(cut_off)?, r.u8().ok_or(cut_off)?);
    if !(SET..=CONFED_SET).contains(&kind) {
        return Err(Misbehaved::SegmentType { code, kind });
    }
    if count == 0 {
        return Err(Misbehaved::EmptySegment { code });
    }
    let octets = usize::from(count).saturating_mul(if four_octet { 4 } else { 2 });
    let mut members = Reader::new(r.take(octets).ok_or(cut_off)?);
    let mut asns = Vec::with_capacity(count.into());
    while let Some(asn) = if four_octet { members.u32() } else { members.u16().map(u32::from) } {
        asns.push(Asn(asn));
    }
    if asns.contains(&Asn(0)) {
        return Err(Misbehaved::AsZero { code });
    }
    Ok((kind, asns))
}

impl AsPath {
    /// Reads an AS_PATH.
    pub(super) fn decode(mut r: Reader<'_>, four_octet: bool) -> Result<AsPath, Misbehaved> {
        let mut segments = Vec::new();
        while !r.is_empty() {
            segments.push(match segment(&mut r, four_octet, code::AS_PATH)? {
                (SET, asns) => Segment::Set(asns),
                (SEQUENCE, asns) => Segment::Sequence(asns),
                (kind, _) => return Err(Misbehaved::SegmentType { code: code::AS_PATH, kind }),
            });
        }
        let path = AsPath { segments };
        match path.hops() {
            ..=AsPath::MAX_HOPS => Ok(path),
            hops => Err(Misbehaved::PathTooLong { hops: u16::try_from(hops).unwrap_or(u16::MAX) }),
        }
    }

    /// Reads an AS4_PATH. Segments of confederations are left out (RFC 6793 §6); the type of the first one is given too.
    pub(super) fn decode_as4(mut r: Reader<'_>) -> Result<(AsPath, Option<u8>), Misbehaved> {
        let mut segments = Vec::new();
        let mut left_out = None;
        while !r.is_empty() {
            match segment(&mut r, true, code::AS4_PATH)? {
                (SET, asns) => segments.push(Segment::Set(asns)),
                (SEQUENCE, asns) => segments.push(Segment::Sequence(asns)),
                (kind, _) => left_out = left_out.or(Some(kind)),
            }
        }
        Ok((AsPath { segments }, left_out))
    }

    /// Puts the AS numbers that did not fit into `self` back in their places (RFC 6793 §4.2.3).
    pub(super) fn restored(self, as4: AsPath) -> AsPath {
        let Some(mut missing) = self.hops().checked_sub(as4.hops()) else {
            return self;
        };
        // Those in front were added by speakers that know two octets only.
        let mut front = Vec::new();
        for segment in self.segments {
            if missing == 0 {
                break;
            }
            let hops = segment.hops();
            front.push(match segment {
                Segment::Sequence(mut asns) => {
                    asns.truncate(missing);
                    Segment::Sequence(asns)
                }
                set => set,
            });
            missing = missing.saturating_sub(hops);
        }
        let mut as4 = as4.segments;
        if let (Some(Segment::Sequence(near)), Some(Segment::Sequence(far))) =
            (front.last_mut(), as4.first_mut())
            && near.len().saturating_add(far.len()) <= AsPath::MAX_SEGMENT
        {
            near.append(far);
            as4.remove(0);
        }
        front.append(&mut as4);
        AsPath { segments: front }
    }

    /// Whether a speaker that knows two octets only needs AS4_PATH beside AS_PATH.
    pub(super) fn needs_as4(&self) -> bool {
        self.asns().any(|asn| asn.0 > u16::MAX.into())
    }

    /// Writes the value of AS_PATH or, with four octets, of AS4_PATH.
    pub(super) fn encode(&self, four_octet: bool, w: &mut Writer<'_>) {
        for segment in &self.segments {
            let kind = if matches!(segment, Segment::Set(_)) { SET } else { SEQUENCE };
            for asns in segment.asns().chunks(AsPath::MAX_SEGMENT) {
                w.u8(kind);
                w.u8(u8::try_from(asns.len()).expect("a chunk of at most 255"));
                for asn in asns {
                    match u16::try_from(asn.0) {
                        _ if four_octet => w.u32(asn.0),
                        Ok(asn) => w.u16(asn),
                        Err(_) => w.u16(AS_TRANS),
                    }
                }
            }
        }
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments.iter().enumerate() {
            let asns: Vec<String> = segment.asns().iter().map(Asn::to_string).collect();
            let gap = if i == 0 { "" } else { " " };
            match segment {
                Segment::Set(_) => write!(f, "{gap}{{{}}}", asns.join(","))?,
                Segment::Sequence(_) => write!(f, "{gap}{}", asns.join(" "))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(asns: impl IntoIterator<Item = u32>) -> Segment {
        Segment::Sequence(asns.into_iter().map(Asn).collect())
    }

    fn set(asns: impl IntoIterator<Item = u32>) -> Segment {
        Segment::Set(asns.into_iter().map(Asn).collect())
    }

    #[test]
    fn a_path_grows_at_its_front() {
        for (before, after) in [
            (vec![], vec![sequence([1])]),
            (vec![sequence([2, 3])], vec![sequence([1, 2, 3])]),
            (vec![set([2, 3])], vec![sequence([1]), set([2, 3])]),
            (vec![sequence([2; 254])], vec![sequence(std::iter::once(1).chain([2; 254]))]),
            (vec![sequence([2; 255])], vec![sequence([1]), sequence([2; 255])]),
        ] {
            let mut path = AsPath::new(before);
            path.prepend(Asn(1));
            assert_eq!(path, AsPath::new(after));
        }
    }

    #[test]
    fn a_segment_of_more_than_a_count_can_say_is_written_as_several() {
        let mut out = Vec::new();
        AsPath::new([sequence(1..=300)]).encode(true, &mut Writer::new(&mut out));
        let read = AsPath::decode(Reader::new(&out), true);
        assert_eq!(read, Ok(AsPath::new([sequence(1..=255), sequence(256..=300)])));
    }

    #[test]
    fn hops_neighbour_and_origin_are_told() {
        let path = AsPath::new([sequence([1, 2, 2]), set([3, 4]), sequence([5])]);
        assert_eq!(path.to_string(), "1 2 2 {3,4} 5");
        assert_eq!((path.hops(), path.first(), path.last()), (5, Some(Asn(1)), Some(Asn(5))));
        assert!(path.contains(Asn(4)) && !path.contains(Asn(6)) && path.count(Asn(2)) == 2);
        let aggregated = AsPath::new([set([3, 4])]);
        assert_eq!((aggregated.hops(), aggregated.first(), aggregated.last()), (1, None, None));
        assert_eq!((AsPath::default().hops(), AsPath::default().first()), (0, None));
    }
}
