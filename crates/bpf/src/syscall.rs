//! bpf(2): the few commands that are used, with their parameters as `union bpf_attr` of `linux/bpf.h` has them.
#![allow(unsafe_code, reason = "bpf(2) takes a pointer to a structure that holds pointers")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const MAP_DELETE_ELEM: libc::c_int = 3;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const PROG_LOAD: libc::c_int = 5;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const MAP_GET_FD_BY_ID: libc::c_int = 14;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `BPF_PROG_TYPE_SCHED_CLS`.
const PROG_TYPE_SCHED_CLS: u32 = 3;
/// `BPF_OBJ_NAME_LEN`.
const NAME: usize = 16;
/// `BPF_TAG_SIZE`.
pub(crate) type Tag = [u8; 8];

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; NAME],
}

#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: Tag,
    compiled_length: u32,
    translated_length: u32,
    compiled: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    maps: u64,
    name: [u8; NAME],
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; NAME],
}

/// # Safety
/// `attr` must be what `command` takes, and its pointers valid for what the command does with them.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the size is that of the structure.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// # Safety
/// As `bpf`; the command must answer with a new descriptor.
unsafe fn bpf_fd<T>(command: libc::c_int, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just opened it for us, and closes it on exec by itself.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

fn name(text: &str) -> [u8; NAME] {
    let mut name = [0; NAME];
    let length = text.len().min(NAME - 1);
    name[..length].copy_from_slice(&text.as_bytes()[..length]);
    name
}

fn text(name: [u8; NAME]) -> String {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

pub(crate) fn create_map(
    kind: u32,
    name_: &str,
    sizes: (u32, u32),
    max: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let (key_size, value_size) = sizes;
    let attr = MapCreate {
        kind,
        key_size,
        value_size,
        max_entries: max,
        flags,
        inner_map_fd: 0,
        numa_node: 0,
        name: name(name_),
    };
    // SAFETY: no pointers.
    unsafe { bpf_fd(MAP_CREATE, &attr) }
}

fn element<K: ?Sized, V: ?Sized>(map: BorrowedFd<'_>, key: Option<&K>, value: Option<&V>) -> Element {
    let map = map.as_raw_fd() as u32;
    Element { map, pad: 0, key: key.map_or(0, address), value: value.map_or(0, address), flags: 0 }
}

/// Sizes must be the map's: `K` and `V` are plain bytes.
pub(crate) fn update<const K: usize, const V: usize>(
    map: BorrowedFd<'_>,
    key: &[u8; K],
    value: &[u8; V],
) -> io::Result<()> {
    // SAFETY: the kernel reads a key and a value, which live for the call.
    unsafe { bpf(MAP_UPDATE_ELEM, &element(map, Some(key), Some(value))) }.map(drop)
}

pub(crate) fn delete<const K: usize>(map: BorrowedFd<'_>, key: &[u8; K]) -> io::Result<()> {
    // SAFETY: the kernel reads a key, which lives for the call.
    unsafe { bpf(MAP_DELETE_ELEM, &element::<_, [u8]>(map, Some(key), None)) }.map(drop)
}

pub(crate) fn lookup<const K: usize, const V: usize>(
    map: BorrowedFd<'_>,
    key: &[u8; K],
) -> io::Result<[u8; V]> {
    let mut value = [0; V];
    let mut attr = element::<_, [u8]>(map, Some(key), None);
    attr.value = value.as_mut_ptr() as u64;
    // SAFETY: the kernel reads a key and writes a value, which both live for the call.
    unsafe { bpf(MAP_LOOKUP_ELEM, &attr) }?;
    Ok(value)
}

/// The key behind `key`, the first for `None`; `None` at the end.
pub(crate) fn next_key<const K: usize>(
    map: BorrowedFd<'_>,
    key: Option<&[u8; K]>,
) -> io::Result<Option<[u8; K]>> {
    let mut next = [0; K];
    let mut attr = element::<_, [u8]>(map, key, None);
    attr.value = next.as_mut_ptr() as u64;
    // SAFETY: the kernel reads a key and writes another, which both live for the call.
    match unsafe { bpf(MAP_GET_NEXT_KEY, &attr) } {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads instructions; with the verifier's last words if it refuses.
pub(crate) fn load_program(name_: &str, instructions: &[u8]) -> Result<OwnedFd, (io::Error, String)> {
    let license = c"Apache-2.0";
    let load = |log: &mut Vec<u8>| {
        let attr = ProgLoad {
            kind: PROG_TYPE_SCHED_CLS,
            instruction_count: (instructions.len() / 8) as u32,
            instructions: address(instructions),
            license: license.as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: log.len() as u32,
            log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            kernel_version: 0,
            flags: 0,
            name: name(name_),
        };
        // SAFETY: the kernel reads instructions and licence and writes into the log; they live for the call.
        unsafe { bpf_fd(PROG_LOAD, &attr) }
    };
    load(&mut Vec::new()).or_else(|first| {
        let mut log = vec![0; 1 << 16];
        load(&mut log).map_err(|_| (first, last_line(&log)))
    })
}

/// The verifier ends with statistics; what is wrong stands before them.
fn last_line(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.lines().rev().find(|line| !line.starts_with("processed")).unwrap_or_default().to_owned()
}

pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &ById { id, next_id: 0, open_flags: 0 }) }
}

fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { bpf_fd(MAP_GET_FD_BY_ID, &ById { id, next_id: 0, open_flags: 0 }) }
}

fn info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let attr = GetInfo {
        fd: fd.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes of plain numbers into `info`, which lives for the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &attr) }.map(drop)
}

pub(crate) fn tag(program: BorrowedFd<'_>) -> io::Result<Tag> {
    let mut found = ProgInfo::default();
    info(program, &mut found)?;
    Ok(found.tag)
}

/// The maps of a program, by name.
pub(crate) fn maps(program: BorrowedFd<'_>) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut ids = [0_u32; 4];
    let mut found =
        ProgInfo { map_count: ids.len() as u32, maps: ids.as_mut_ptr() as u64, ..ProgInfo::default() };
    info(program, &mut found)?;
    let count = ids.len().min(found.map_count as usize);
    let open = |id: &u32| {
        let map = map_by_id(*id)?;
        let mut found = MapInfo::default();
        info(std::os::fd::AsFd::as_fd(&map), &mut found)?;
        Ok((text(found.name), map))
    };
    ids[..count].iter().map(open).collect()
}
