//! Lets clients in whose requests name a URL (`http://127.0.0.1:2379`) where HTTP/2 has an authority
//! (`127.0.0.1:2379`): etcdctl 3.4 does so for each endpoint that it was given as a URL and dials on its own. Go's server
//! takes that; h2 resets such a request as malformed.
//!
//! Contract: stands between the socket and hyper. Once the first block of headers has shown a usual authority, or
//! anything but HTTP/2, what the client sends is never looked at again. Where it has shown a URL, that and each later
//! `:authority` is cut down to its host and port, and every other byte stays as it was sent. What is malformed, or larger
//! than h2 takes, goes on unchanged, and h2 refuses it.
//!
//! Only the literal of the authority is replaced; nothing else in a block is decoded, and no table is kept. That is sound
//! because it only ever gets shorter: the decoder behind inserts an entry for each one that the client inserts, and evicts
//! none that the client still has, so each index means the same field to both. Decoding every block and encoding it anew
//! would also work, and would need both tables, a bound on what a small block expands to, and an answer for what then
//! cannot be decoded.
//!
//! Left out: authorities whose *name* is spelled out or taken from the dynamic table (encoders take the static entry), and
//! connections whose first request is in order while a later one is not (a connection has one authority).

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use cairn_types::limits::MAX_HELD_HEADER_BYTES;
use loona_hpack::encoder::encode_integer_into;
use loona_hpack::huffman::HuffmanDecoder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(test)]
mod tests;

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head.
const HEAD_BYTES: usize = 9;
/// The longest frame that h2 takes: hyper's setting and HTTP/2's default. At a longer one the looking ends.
const MAX_FRAME_BYTES: usize = 16_384;

// Kinds of frames, their flags, and the length of the priority in a HEADERS frame (RFC 9113, section 6).
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

/// The index of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;

/// A connection whose client may send URLs as authorities.
pub(super) struct Lenient<S> {
    stream: S,
    /// Gone as soon as there is nothing to look for.
    editor: Option<Box<Editor>>,
}

impl<S> Lenient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, editor: Some(Box::default()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.editor {
            None => Pin::new(&mut this.stream).poll_read(context, buf),
            Some(editor) => {
                let polled = editor.poll_read(&mut this.stream, context, buf);
                if editor.is_done() {
                    this.editor = None;
                }
                polled
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Turns what the client sends into what h2 may read. How the bytes are parted makes no difference to it.
#[derive(Default)]
struct Editor {
    /// Sent and not decided on: part of the preface or of a frame's head, or the frames of one block of headers.
    held: BytesMut,
    stage: Stage,
    /// Whether a block has had a URL in it.
    edits: bool,
    /// For h2 to read.
    ready: BytesMut,
}

/// What `held` begins with.
#[derive(Default)]
enum Stage {
    #[default]
    Preface,
    /// The head of a frame.
    Head,
    /// So many bytes of a frame that has no headers.
    Payload(usize),
    /// A block of headers, of whose frames so many bytes are complete.
    Block(usize),
    /// Whatever comes: it passes.
    Done,
}

impl Editor {
    fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        // Nothing read means the end of the stream, so that only the end itself may look so.
        while self.ready.is_empty() && buf.remaining() > 0 {
            ready!(Pin::new(&mut *stream).poll_read(context, buf))?;
            let ended = buf.filled().len() == start;
            if ended {
                self.stage = Stage::Done;
            }
            self.push(&buf.filled()[start..]);
            buf.set_filled(start);
            if ended {
                break;
            }
        }
        let length = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..length]);
        self.ready.advance(length);
        Poll::Ready(Ok(()))
    }

    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done) && self.ready.is_empty()
    }

    fn push(&mut self, sent: &[u8]) {
        self.held.extend_from_slice(sent);
        while let Some(next) = self.step() {
            self.stage = next;
        }
    }

    /// The next stage, if enough was sent to tell.
    fn step(&mut self) -> Option<Stage> {
        match self.stage {
            Stage::Preface => {
                let length = self.held.len().min(PREFACE.len());
                if self.held[..length] != PREFACE[..length] {
                    return Some(Stage::Done);
                }
                (length == PREFACE.len()).then(|| self.pass(length, Stage::Head))
            }
            Stage::Head => {
                let head = Head::read(&self.held)?;
                match head.kind {
                    _ if head.length > MAX_FRAME_BYTES => Some(Stage::Done),
                    HEADERS => Some(Stage::Block(0)),
                    _ => Some(self.pass(HEAD_BYTES, Stage::Payload(head.length))),
                }
            }
            Stage::Payload(0) => Some(Stage::Head),
            Stage::Payload(_) if self.held.is_empty() => None,
            Stage::Payload(left) => {
                let length = left.min(self.held.len());
                Some(self.pass(length, Stage::Payload(left - length)))
            }
            Stage::Block(whole) => self.block(whole),
            Stage::Done => {
                self.pass(self.held.len(), Stage::Done);
                None
            }
        }
    }

    /// Takes the next frame of a block whose first `whole` bytes are known.
    fn block(&mut self, whole: usize) -> Option<Stage> {
        let head = Head::read(&self.held[whole..])?;
        let end = whole + HEAD_BYTES + head.length;
        let kind = if whole == 0 { HEADERS } else { CONTINUATION };
        if head.kind != kind || head.length > MAX_FRAME_BYTES || end > MAX_HELD_HEADER_BYTES {
            return Some(Stage::Done);
        }
        if self.held.len() < end {
            return None;
        }
        if head.flags & END_HEADERS == 0 {
            return Some(Stage::Block(end));
        }
        let Some(edited) = edited_frames(&self.held[..end]) else {
            return Some(self.pass(end, if self.edits { Stage::Head } else { Stage::Done }));
        };
        self.edits = true;
        self.held.advance(end);
        self.ready.extend_from_slice(&edited);
        Some(Stage::Head)
    }

    /// Hands so many bytes on as they are.
    fn pass(&mut self, length: usize, next: Stage) -> Stage {
        self.ready.extend_from_slice(&self.held.split_to(length));
        next
    }
}

/// The head of a frame.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEAD_BYTES>()?;
        Some(Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: [s0, s1, s2, s3],
        })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.length.to_be_bytes()[size_of::<usize>() - 3..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream);
    }
}

/// The first frame of several, and the frames behind it.
fn split_frame(frames: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let head = Head::read(frames)?;
    let (payload, rest) = frames[HEAD_BYTES..].split_at_checked(head.length)?;
    Some((head, payload, rest))
}

/// The frames of a block of headers with the authority cut down; nothing where that is no URL, or the frames are
/// malformed.
fn edited_frames(frames: &[u8]) -> Option<Vec<u8>> {
    let (head, payload, mut rest) = split_frame(frames)?;
    let mut payload = if head.flags & PADDED == 0 { payload } else { unpadded(payload)? }.to_vec();
    while !rest.is_empty() {
        let (next, more, behind) = split_frame(rest)?;
        if next.stream != head.stream {
            return None;
        }
        payload.extend_from_slice(more);
        rest = behind;
    }
    let priority = if head.flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
    let block = edited_block(payload.get(priority..)?)?;
    payload.truncate(priority);
    payload.extend_from_slice(&block);

    // Text that came in Huffman's code goes on without, so that a full frame may no longer hold the block.
    let mut out = vec![];
    let mut parts = payload.chunks(MAX_FRAME_BYTES).peekable();
    let (mut kind, mut flags) = (HEADERS, head.flags & (END_STREAM | PRIORITY));
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        Head { length: part.len(), kind, flags, stream: head.stream }.write(&mut out);
        out.extend_from_slice(part);
        (kind, flags) = (CONTINUATION, 0);
    }
    Some(out)
}

fn unpadded(payload: &[u8]) -> Option<&[u8]> {
    let (&padding, payload) = payload.split_first()?;
    payload.get(..payload.len().checked_sub(padding.into())?)
}

/// The block with the authority cut down; nothing where that is no URL, or not a literal, or the block is malformed.
fn edited_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut rest = block;
    while let Some(&first) = rest.first() {
        // The kinds of RFC 7541, section 6: an index of a field, two kinds of literals, a new size of the table between.
        let (prefix_bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = integer(&mut rest, prefix_bits)?;
        if !literal {
            continue;
        }
        if index == 0 {
            let _name = string(&mut rest)?;
        }
        let before = block.len() - rest.len();
        let (huffman, value) = string(&mut rest)?;
        if index == AUTHORITY {
            let value =
                if huffman { Cow::Owned(HuffmanDecoder::new().decode(value).ok()?) } else { Cow::Borrowed(value) };
            let host = host(&value)?;
            let mut out = block[..before].to_vec();
            encode_integer_into(host.len(), 7, 0, &mut out).ok()?;
            out.extend_from_slice(host);
            out.extend_from_slice(rest);
            return Some(out);
        }
    }
    None
}

/// An integer behind the kind that its first byte begins with; no longer than h2 takes one.
fn integer(rest: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let (&first, mut behind) = rest.split_first()?;
    let mask = (1 << prefix_bits) - 1;
    let mut value = usize::from(first & mask);
    if first & mask == mask {
        let mut shifts = [0, 7, 14, 21].into_iter();
        loop {
            let (&byte, more) = behind.split_first()?;
            value += usize::from(byte & 0x7f) << shifts.next()?;
            behind = more;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = behind;
    Some(value)
}

/// A string as it stands there, and whether in Huffman's code.
fn string<'a>(rest: &mut &'a [u8]) -> Option<(bool, &'a [u8])> {
    let huffman = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some((huffman, text))
}

/// Host and port of a URL; nothing where the text is none.
fn host(url: &[u8]) -> Option<&[u8]> {
    let (_scheme, behind) = std::str::from_utf8(url).ok()?.split_once("://")?;
    let host = behind.split(['/', '?', '#']).next()?;
    (!host.is_empty()).then_some(host.as_bytes())
}
