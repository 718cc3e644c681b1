//! Opening a cache for one that only looks, even where it may not be written.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::cache::wait_for_gc;
use super::draft::Drafts;
use super::layout::Layout;
use super::{Disk, Error, Store};
use crate::event::Sink;

impl Store {
    /// Opens the cache at `root` for one that only looks. A cache that may not be written is opened all the same: then nothing in it changes,
    /// and what is found damaged is told and stays where it is.
    ///
    /// # Errors
    /// A failing disk.
    pub fn open_to_look(root: &Path, disk: Arc<dyn Disk>, events: Arc<dyn Sink>) -> Result<Self, Error> {
        match Self::open(root, disk.clone(), events.clone()) {
            Err(Error::NotWritable { .. }) => {}
            opened => return opened,
        }
        let layout = Layout::new(root);
        let path = layout.lock("gc");
        let gc = match File::open(&path) {
            Ok(file) => {
                wait_for_gc((root, &*disk), (&file, &path), &*events, &|| false)?;
                Some(file)
            }
            // Where no run may ever have been, none is kept from collecting either.
            Err(_) => None,
        };
        let drafts = Drafts::nowhere(&layout, disk.clone(), events.clone());
        Ok(Self::with(layout, disk, events, drafts, gc))
    }

    /// Whether anything in it may be changed.
    pub fn is_writable(&self) -> bool {
        self.drafts.are_possible()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::Root;
    use super::super::testing::{Heard, Place, blob, commit, flip, open, record_of};
    use super::*;

    /// A disk that may only be read.
    struct ReadOnly;

    impl Disk for ReadOnly {
        fn create_folder(&self, _: &Path) -> std::io::Result<()> {
            Err(std::io::Error::from_raw_os_error(30))
        }
    }

    #[test]
    fn a_cache_that_may_not_be_written_can_be_looked_at_and_nothing_in_it_changes() {
        let place = Place::new();
        let record = record_of(1, &[("loss", b"0.5")]);
        let store = open(&place);
        store.put(&blob(1).0).unwrap();
        commit(&store, &record);
        store.write_root("fig3", "small", &Root::default()).unwrap();
        let (damaged, root) = (store.layout.blob(&blob(1).1.digest), store.layout.study_root("fig3", "small"));
        drop(store);
        flip(&damaged, 7);
        flip(&root, 20);
        let heard = Arc::new(Heard::default());
        let store = Store::open_to_look(place.path(), Arc::new(ReadOnly), heard.clone()).unwrap();
        assert!(!store.is_writable());
        assert_eq!(store.record(&record.key).unwrap(), Some(record));
        assert_eq!(store.read(&blob(1).1).unwrap(), None);
        let mut named: Vec<PathBuf> =
            store.verify(&|| false, &|_| ()).unwrap().damaged.into_iter().map(|damage| damage.path).collect();
        named.sort();
        assert_eq!(named, [damaged.clone(), root.clone()]);
        assert_eq!(store.stats().unwrap().records.files, 1);
        drop(store);
        assert!(heard.quarantined().is_empty() && damaged.exists() && root.exists());
        assert!(Store::open_to_look(&place.path().join("nowhere"), Arc::new(ReadOnly), heard).is_ok());
    }
}
