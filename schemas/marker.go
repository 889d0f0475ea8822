package schemas

// StoreMarker is the name of a file in every folder that holds backups: a storage node's, and
// that of a whole system. A backup leaves out what is in such a folder, because it changes while
// it is read and grows by what is saved of it.
const StoreMarker = "BACKUPDIR.TAG"

// StoreSignature is how a [StoreMarker] begins. What follows is for people.
const StoreSignature = "Signature: 5be0f3c19d7a4e62b8f1206c7d93a4ef servidor-backup store\n"
