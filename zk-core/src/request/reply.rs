//! How long a reply can become, known from the request alone: a server that forwards a request
//! keeps that much room for the answer.

use super::prep::multi_ops;
use crate::wire::OpCode;

/// Bytes of a frame's length and a reply's header: all of a refusal.
pub const HEAD: usize = 20;
/// Bytes of a stat.
const STAT: usize = 68;
/// Bytes of a header inside a reply to a multi, and of an error behind it.
const RESULT: usize = 9 + 4;
/// Bytes of a path's length, and of the number that a sequential node's path gets.
const PATH: usize = 4 + 11;

/// Bytes that the reply to `body` takes at most, its length included; `config` are those that a
/// configuration has at most.
#[inline]
pub fn most(op: OpCode, body: &[u8], config: usize) -> usize {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            // The request begins with the path.
            let path = body.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
            HEAD + PATH + path.min(body.len()) + STAT
        }
        OpCode::SetData | OpCode::SetAcl => HEAD + STAT,
        OpCode::Multi => {
            let ops = multi_ops(body).count();
            HEAD + RESULT + body.len() + ops * (RESULT + PATH + STAT)
        }
        // The path again.
        OpCode::Sync => HEAD + body.len(),
        OpCode::Reconfig => HEAD + 4 + config + STAT,
        _ => HEAD,
    }
}
