//! A bucket of an S3 server, through the `object_store` crate.
//!
//! Requests that fail for a reason that may pass (no connection, 5xx, 429) are sent again up to five times within half a minute, after pauses
//! that grow and are random in part. A large object goes up in parts and is restarted as a whole by whoever puts it, never continued: what is
//! left of one that was broken off is for the bucket's life-cycle rules (`AbortIncompleteMultipartUpload`). Nothing needs conditional writes.

use std::io::{Read, Write};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart};
use tokio::runtime::Runtime;

use super::folder::changed;
use super::{Error, Listed, Objects};

/// Objects above this length go up in parts.
const WHOLE_BYTES: u64 = 16 << 20;
/// A part has at least this length, and S3 takes at most 10,000 of them.
const PART_BYTES: u64 = 8 << 20;
const MOST_PARTS: u64 = 9_000;
/// Parts of one object on their way at once.
const PARTS_AT_ONCE: usize = 4;
const REQUESTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// Values that are never shown.
const SECRETS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// What is shown of an answer.
const LONGEST_ANSWER: usize = 300;

/// Objects in a bucket, below a prefix.
pub(super) struct Bucket {
    address: String,
    prefix: String,
    store: AmazonS3,
    runtime: Runtime,
}

impl Bucket {
    /// The bucket as the environment describes it; nothing is asked of it yet.
    pub(super) fn open(bucket: &str, prefix: &str) -> Result<Self, Error> {
        let client = |key, value: &str| (AmazonS3ConfigKey::Client(key), value.to_owned());
        let settings = [
            // A large object on a slow link takes long; what counts is that something comes.
            client(ClientConfigKey::Timeout, "86400 s"),
            client(ClientConfigKey::ReadTimeout, "30 s"),
            client(ClientConfigKey::ConnectTimeout, "5 s"),
        ];
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2. };
        let retry = RetryConfig { backoff, max_retries: REQUESTS, retry_timeout: PATIENCE };
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let builder = settings.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
        let store = builder.build().map_err(|error| place(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Error::Here(format!("failed to start threads: {error}")))?;
        let address = if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") };
        Ok(Self { address, prefix: prefix.to_owned(), store, runtime })
    }

    fn path(&self, name: &str) -> Result<Path, Error> {
        let name = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(&name).map_err(|error| Error::Here(error.to_string()))
    }

    fn put_whole(&self, path: &Path, from: &mut dyn Read, bytes: u64) -> Result<(), Error> {
        let mut content = Vec::with_capacity(bytes as usize);
        (&mut *from).take(bytes + 1).read_to_end(&mut content).map_err(|error| here(&error))?;
        if content.len() as u64 != bytes {
            return Err(changed());
        }
        self.runtime.block_on(self.store.put(path, content.into())).map(drop).map_err(|error| place(&error))
    }

    fn put_in_parts(&self, path: &Path, from: &mut dyn Read, bytes: u64) -> Result<(), Error> {
        let part_bytes = PART_BYTES.max(bytes.div_ceil(MOST_PARTS));
        let upload = self.runtime.block_on(self.store.put_multipart(path)).map_err(|error| place(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, part_bytes as usize);
        // Parts are sent by tasks, which need to know of which runtime.
        let _in_runtime = self.runtime.enter();
        let mut left = bytes;
        let sent = loop {
            let mut part = Vec::with_capacity(part_bytes.min(left + 1) as usize);
            if let Err(error) = (&mut *from).take(part_bytes).read_to_end(&mut part) {
                break Err(here(&error));
            }
            let Some(rest) = left.checked_sub(part.len() as u64) else { break Err(changed()) };
            left = rest;
            if part.is_empty() {
                break if left == 0 { Ok(()) } else { Err(changed()) };
            }
            if let Err(error) = self.runtime.block_on(upload.wait_for_capacity(PARTS_AT_ONCE)) {
                break Err(place(&error));
            }
            upload.put(part.into());
        };
        match sent {
            Ok(()) => self.runtime.block_on(upload.finish()).map(drop).map_err(|error| place(&error)),
            Err(error) => {
                let _ = self.runtime.block_on(upload.abort());
                Err(error)
            }
        }
    }
}

impl Objects for Bucket {
    fn address(&self) -> &str {
        &self.address
    }

    fn get(&self, name: &str, to: &mut dyn Write) -> Result<bool, Error> {
        let path = self.path(name)?;
        self.runtime.block_on(async {
            let object = match self.store.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(false),
                object => object.map_err(|error| place(&error))?,
            };
            let mut chunks = object.into_stream();
            while let Some(chunk) = chunks.try_next().await.map_err(|error| place(&error))? {
                to.write_all(&chunk).map_err(|error| here(&error))?;
            }
            Ok(true)
        })
    }

    fn put(&self, name: &str, from: &mut dyn Read, bytes: u64) -> Result<(), Error> {
        let path = self.path(name)?;
        if bytes <= WHOLE_BYTES { self.put_whole(&path, from, bytes) } else { self.put_in_parts(&path, from, bytes) }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let below = if self.prefix.is_empty() && folder.is_empty() { None } else { Some(self.path(folder)?) };
        let all = self.runtime.block_on(self.store.list(below.as_ref()).try_collect::<Vec<_>>());
        let all = all.map_err(|error| place(&error))?;
        let strip = |name: &str| {
            let name = name.strip_prefix(&self.prefix)?;
            Some(name.strip_prefix('/').unwrap_or(name).to_owned())
        };
        let listed = |meta: object_store::ObjectMeta| {
            let name = strip(meta.location.as_ref())?;
            Some(Listed { name, bytes: meta.size, since: meta.last_modified.into() })
        };
        let mut listed: Vec<Listed> = all.into_iter().filter_map(listed).collect();
        listed.sort();
        Ok(listed)
    }

    fn remove(&self, names: &[String]) -> Result<(), Error> {
        let paths = names.iter().map(|name| self.path(name)).collect::<Result<Vec<_>, _>>()?;
        let paths = stream::iter(paths.into_iter().map(Ok)).boxed();
        let removing = self.store.delete_stream(paths).filter_map(|removed| async {
            match removed {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => Some(place(&error)),
            }
        });
        let first = self.runtime.block_on(async { std::pin::pin!(removing).next().await });
        first.map_or(Ok(()), Err)
    }
}

fn here(error: &std::io::Error) -> Error {
    Error::Here(error.to_string())
}

/// What is wrong, on one line and without secrets: the server's own word for it where it gave one, else the innermost cause.
fn place(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    let between = |begin: &str, end: &str| Some(text.split_once(begin)?.1.split_once(end)?.0.trim().to_owned());
    let answer = between("status code: ", ":").zip(between("<Code>", "</Code>"));
    let text = answer.map_or(text.clone(), |(status, code)| format!("the server answers {status}, {code}"));
    Error::Place(without_secrets(&text))
}

fn without_secrets(text: &str) -> String {
    let mut text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in SECRETS.iter().filter_map(|name| std::env::var(name).ok()).filter(|secret| !secret.is_empty()) {
        text = text.replace(&secret, "…");
    }
    if let Some((end, _)) = text.char_indices().nth(LONGEST_ANSWER) {
        text.truncate(end);
        text.push('…');
    }
    text
}
