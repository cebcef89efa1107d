//! `GET /api/v1/installation/backup`: the control store as it is at one moment, as a file.
//!
//! It holds hashes of passwords and keys, so it is the operator's alone, as the store is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};

use super::StoreState;
use super::docs::Seen;
use crate::problem::ApiError;

/// The media type of an SQLite file.
const MEDIA_TYPE: &str = "application/vnd.sqlite3";

/// Bytes that are read and sent at a time.
const PIECE_BYTES: usize = 64 * 1_024;

/// The control store, consistent, while it is worked on.
#[utoipa::path(get, path = "/api/v1/installation/backup", tag = "installation",
    responses((status = 200, description = "An SQLite file, which `pulse restore` takes.",
        content_type = "application/vnd.sqlite3"), Seen),
    security(("installation" = [])))]
pub async fn backup(State(state): State<StoreState>) -> Result<Response, ApiError> {
    let name = super::keys::fresh_id("backup").map_err(|error| ApiError::internal(&error))?;
    let path = state.store.folder().join(name);
    let made = state.store.backup(&path).await;
    made.map_err(|error| ApiError::internal(&error))?;
    let (file, length) = nameless(&path).map_err(|error| ApiError::internal(&error))?;
    let pieces = stream::unfold(Some(file), async |file| {
        let mut file = file?;
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok((file, Bytes::from(piece)))
        });
        match read
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        {
            Ok((_, piece)) if piece.is_empty() => None,
            Ok((file, piece)) => Some((Ok(piece), Some(file))),
            // The answer breaks off before its announced end, which its reader sees.
            Err(error) => Some((Err(error), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::OK, headers, Body::from_stream(pieces)).into_response())
}

/// The file without its name: it is gone with its last reader, however that ends.
fn nameless(path: &Path) -> std::io::Result<(File, u64)> {
    let file = File::open(path);
    let removed = std::fs::remove_file(path);
    let file = file?;
    removed?;
    let length = file.metadata()?.len();
    Ok((file, length))
}
