//! Opens what artifacts are made of: compressed streams, archives, packages and programs, one layer at a time.
//!
//! Contract: [`open`] decides by the first bytes, never by the name. A layer's members are the bytes that have a place
//! of their own in it; what is left of the layer (headers, padding) is its [`frame`]. Members of archives are slices of
//! the layer and cost nothing; what is unpacked counts against a budget. What looks like a layer and cannot be opened
//! is an error, so that a gate never takes it for searched.
//!
//! Known: gzip, xz, zstd, tar, ar (deb), rpm, cpio, ELF (by section, compressed ones unpacked). Left out: zip, 7z,
//! bzip2, lz4, bare lzma and the cpio of the newest rpm, which no artifact of ours is made of: they are refused by name.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use lzma_rust2::XzReader;
use object::{CompressionFormat, Object as _, ObjectSection as _};
use ruzstd::decoding::StreamingDecoder;

/// Most layers within each other: a deb has five (ar, gzip, tar, program, section).
pub const MAX_DEPTH: usize = 10;

/// Most bytes that are unpacked of one artifact, all layers together.
pub const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// Most memory for the dictionary of an xz stream, in KiB.
const MAX_XZ_MEMORY_KIB: u32 = 512 << 10;

/// Name of the section in which cargo-auditable puts a zlib stream.
const AUDITABLE_SECTION: &str = ".dep-v0";

/// The one kind of section that holds a layer of its own: an ELF file with symbols, as an xz stream.
const DEBUG_DATA_SECTION: &str = ".gnu_debugdata";

/// Formats into which we do not look, with their first bytes.
const OPAQUE: [(&str, &[u8]); 6] = [
    ("zip archive", b"PK\x03\x04"),
    ("7z archive", b"7z\xbc\xaf\x27\x1c"),
    ("lz4 stream", b"\x04\x22\x4d\x18"),
    ("bzip2 stream", b"BZh91AY&SY"),
    // The smallest dictionary in use has 64 KiB, so that the second and third byte are zero.
    ("lzma stream", b"\x5d\0\0"),
    ("stripped cpio archive", b"07070X"),
];

/// How far layers are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most layers within each other.
    pub depth: usize,
    /// Most bytes that are unpacked, all layers together.
    pub unpacked_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: MAX_DEPTH, unpacked_bytes: MAX_UNPACKED_BYTES }
    }
}

/// The kinds of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One compressed stream or several in a row; its one member has no name.
    Stream,
    /// A tar archive.
    Tar,
    /// An ar, cpio or rpm archive.
    Archive,
    /// An ELF file; its members are the sections.
    Elf,
}

/// An opened layer.
#[derive(Debug)]
pub struct Layer<'a> {
    /// What it is.
    pub kind: Kind,
    /// What is in it, in order.
    pub members: Vec<Member<'a>>,
}

/// A part of a layer.
#[derive(Debug)]
pub struct Member<'a> {
    /// Its name; empty in streams.
    pub name: String,
    /// Its content, unpacked.
    pub bytes: Cow<'a, [u8]>,
    /// Where in the layer it begins, if it is stored as it is.
    pub at: Option<usize>,
    /// Whether it may be a layer itself.
    pub may_nest: bool,
}

impl<'a> Member<'a> {
    fn stored(name: String, layer: &'a [u8], at: usize, size: usize) -> Result<Self, String> {
        let bytes = at.checked_add(size).and_then(|end| layer.get(at..end));
        let bytes = bytes.ok_or_else(|| format!("is cut off: its member {name} is not all there"))?;
        Ok(Self { name, bytes: Cow::Borrowed(bytes), at: Some(at), may_nest: true })
    }
}

/// Opens one layer; none if the bytes are no layer. `budget` is what may still be unpacked.
///
/// # Errors
///
/// A part of a sentence that says why the layer cannot be opened.
pub fn open<'a>(bytes: &'a [u8], budget: &mut u64) -> Result<Option<Layer<'a>>, String> {
    if let Some((what, _)) = OPAQUE.iter().find(|(_, magic)| bytes.starts_with(magic)) {
        return Err(format!("is a {what}, into which this gate cannot look"));
    }
    let layer = if bytes.starts_with(b"\x1f\x8b\x08") {
        stream("gzip", MultiGzDecoder::new(bytes), budget)?
    } else if bytes.starts_with(b"\xfd7zXZ\0") {
        stream("xz", XzReader::new_mem_limit(bytes, true, MAX_XZ_MEMORY_KIB), budget)?
    } else if bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        stream("zstd", ZstdFrames::new(bytes), budget)?
    } else if bytes.get(257..262) == Some(b"ustar") {
        Layer { kind: Kind::Tar, members: tar_members(bytes).map_err(|e| format!("is a broken tar: {e}"))? }
    } else if bytes.starts_with(AR_MAGIC) {
        Layer { kind: Kind::Archive, members: ar_members(bytes)? }
    } else if bytes.starts_with(b"070701") || bytes.starts_with(b"070702") {
        Layer { kind: Kind::Archive, members: cpio_members(bytes)? }
    } else if bytes.starts_with(b"\xed\xab\xee\xdb") {
        Layer { kind: Kind::Archive, members: rpm_members(bytes)? }
    } else if bytes.starts_with(b"\x7fELF") {
        match elf_members(bytes, budget)? {
            Some(members) => Layer { kind: Kind::Elf, members },
            None => return Ok(None),
        }
    } else {
        return Ok(None);
    };
    Ok(Some(layer))
}

/// What of a layer belongs to no member that is stored as it is, as (place, bytes).
#[must_use]
pub fn frame<'a>(bytes: &'a [u8], layer: &Layer<'_>) -> Vec<(usize, &'a [u8])> {
    let mut taken: Vec<_> = layer.members.iter().filter_map(|one| Some((one.at?, one.at? + one.bytes.len()))).collect();
    taken.sort_unstable();
    let mut gaps = Vec::new();
    let mut from = 0;
    for (start, end) in taken.into_iter().chain([(bytes.len(), bytes.len())]) {
        if start > from {
            gaps.push((from, &bytes[from..start]));
        }
        from = from.max(end);
    }
    gaps
}

fn stream<'a>(format: &str, reader: impl Read, budget: &mut u64) -> Result<Layer<'a>, String> {
    let bytes = Cow::Owned(unpack(format, reader, budget)?);
    let member = Member { name: String::new(), bytes, at: None, may_nest: true };
    Ok(Layer { kind: Kind::Stream, members: vec![member] })
}

fn unpack(format: &str, reader: impl Read, budget: &mut u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = reader.take(budget.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|e| format!("is a broken {format} stream: {e}"))?;
    *budget = budget
        .checked_sub(bytes.len() as u64)
        .ok_or_else(|| "unpacks to more than this gate reads; the limit is for all layers together".to_owned())?;
    Ok(bytes)
}

/// The zstd frames of a file, one after the other; frames to be skipped are skipped.
struct ZstdFrames<'a> {
    rest: &'a [u8],
    decoder: Option<StreamingDecoder<&'a [u8], ruzstd::decoding::FrameDecoder>>,
}

impl<'a> ZstdFrames<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, decoder: None }
    }

    /// Goes past frames that hold no data: a number that begins with 0x184D2A5, a length, that many bytes.
    fn skip(&mut self) -> io::Result<()> {
        while let Some((head, rest)) = self.rest.split_first_chunk::<8>() {
            if head[0] & 0xf0 != 0x50 || head[1..4] != [0x2a, 0x4d, 0x18] {
                break;
            }
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            self.rest = rest.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(())
    }
}

impl Read for ZstdFrames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let n = decoder.read(buffer)?;
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
                if let Some(decoder) = self.decoder.take() {
                    self.rest = decoder.into_inner();
                }
            }
            self.skip()?;
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.decoder = Some(StreamingDecoder::new(self.rest).map_err(io::Error::other)?);
        }
    }
}

fn tar_members(bytes: &[u8]) -> io::Result<Vec<Member<'_>>> {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    // Packages of apk are several archives in a row, each but the last without end.
    archive.set_ignore_zeros(true);
    let mut members = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = usize::try_from(entry.raw_file_position()).map_err(io::Error::other)?;
        let size = if entry.header().entry_type().is_file() { entry.size() } else { 0 };
        let size = usize::try_from(size).map_err(io::Error::other)?;
        members.push(Member::stored(name, bytes, place, size).map_err(io::Error::other)?);
    }
    Ok(members)
}

const AR_MAGIC: &[u8] = b"!<arch>\n";

/// Bytes of the header of a member of an ar archive: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2.
const AR_HEADER_BYTES: usize = 60;

fn ar_members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    let mut members = Vec::new();
    let mut at = AR_MAGIC.len();
    while at < bytes.len() {
        let header = bytes.get(at..at + AR_HEADER_BYTES).ok_or("is a broken ar: a header is cut off")?;
        let name = String::from_utf8_lossy(&header[..16]).trim_end().trim_end_matches('/').to_owned();
        let size = String::from_utf8_lossy(&header[48..58]).trim().parse::<usize>();
        let size = size.map_err(|_| format!("is a broken ar: the size of {name} is no number"))?;
        members.push(Member::stored(name, bytes, at + AR_HEADER_BYTES, size)?);
        // Members begin at even places.
        at += AR_HEADER_BYTES + size + size % 2;
    }
    Ok(members)
}

/// Bytes of the header of a member of a cpio archive: a number of 6 digits and 13 of 8 hexadecimal digits.
const CPIO_HEADER_BYTES: usize = 110;

/// Name of the member that ends a cpio archive.
const CPIO_END: &str = "TRAILER!!!";

fn cpio_members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let name_at = at + CPIO_HEADER_BYTES;
        let header = bytes.get(at..name_at).ok_or("is a broken cpio: a header is cut off")?;
        let (size, name_size) = (cpio_number(header, 6)?, cpio_number(header, 11)?);
        let name = Member::stored("with the name".to_owned(), bytes, name_at, name_size)?;
        let name = String::from_utf8_lossy(&name.bytes).trim_end_matches('\0').to_owned();
        if name == CPIO_END {
            return Ok(members);
        }
        let data_at = (name_at + name_size).next_multiple_of(4);
        members.push(Member::stored(name, bytes, data_at, size)?);
        at = (data_at + size).next_multiple_of(4);
    }
}

/// The number with this index after the first one.
fn cpio_number(header: &[u8], index: usize) -> Result<usize, String> {
    let digits = String::from_utf8_lossy(&header[6 + 8 * index..][..8]).into_owned();
    usize::from_str_radix(&digits, 16).map_err(|_| format!("is a broken cpio: {digits:?} is no number"))
}

/// Bytes of an rpm's lead, before its two headers.
const RPM_LEAD_BYTES: usize = 96;

/// First bytes of a header of an rpm.
const RPM_HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";

/// The payload; both headers belong to the frame, because nothing in them is compressed.
fn rpm_members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    let signatures_end = rpm_header_end(bytes, RPM_LEAD_BYTES)?.next_multiple_of(8);
    let at = rpm_header_end(bytes, signatures_end)?;
    let size = bytes.len().checked_sub(at).ok_or("is a broken rpm: a header is cut off")?;
    Ok(vec![Member::stored("payload".to_owned(), bytes, at, size)?])
}

/// A header has a magic number, four reserved bytes, the number of entries of 16 bytes each, and the size of their data.
fn rpm_header_end(bytes: &[u8], at: usize) -> Result<usize, String> {
    let head = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>).ok_or("is a broken rpm: a header is cut off")?;
    if !head.starts_with(RPM_HEADER_MAGIC) {
        return Err("is a broken rpm: no header is where one should be".to_owned());
    }
    let [.., a, b, c, d, e, f, g, h] = *head;
    let (entries, data) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    Ok(at + 16 + 16 * entries as usize + data as usize)
}

/// The sections; none if the tables are not those of an ELF file: then its raw bytes are all there is to see.
fn elf_members<'a>(bytes: &'a [u8], budget: &mut u64) -> Result<Option<Vec<Member<'a>>>, String> {
    let Ok(file) = object::File::parse(bytes) else {
        return Ok(None);
    };
    let mut members = Vec::new();
    for section in file.sections() {
        let name = String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned();
        let may_nest = name == DEBUG_DATA_SECTION;
        let packed = section.compressed_data().map_err(|e| format!("has a section {name} that cannot be read: {e}"))?;
        let format = if name == AUDITABLE_SECTION { CompressionFormat::Zlib } else { packed.format };
        let unpacked = match format {
            CompressionFormat::None => {
                let place = section.file_range().and_then(|(at, _)| usize::try_from(at).ok());
                members.push(Member { name, bytes: Cow::Borrowed(packed.data), at: place, may_nest });
                continue;
            }
            CompressionFormat::Zlib => unpack("zlib", ZlibDecoder::new(packed.data), budget),
            CompressionFormat::Zstandard => unpack("zstd", ZstdFrames::new(packed.data), budget),
            _ => Err("is compressed in an unknown way".to_owned()),
        };
        let unpacked = unpacked.map_err(|why| format!("has a section {name} that {why}"))?;
        members.push(Member { name, bytes: Cow::Owned(unpacked), at: None, may_nest });
    }
    Ok(Some(members))
}
