// SPDX-License-Identifier: MIT OR Apache-2.0

// Package archive is the file that a backup is: how it is written, proved and taken apart.
// It knows neither the bus nor a daemon.
//
// # The file
//
//	blufio-<node>-<UTC>.tar.zst, mode 0600
//
//	one zstd frame      a tar, of regular files alone:
//	    manifest.json       what follows, each with size and SHA-256; versions, row counts, the cut
//	    blufio.db           the database, with the vault inside
//	    device.pub          the public key of the device
//	    config/NN-NAME.toml the files of the configuration, in order; secrets in clear are emptied
//	    device.nk           the device's key: only when it was asked for
//	    workspace/…         only when it was asked for
//	one skippable frame the seal: "blufio/1" and the SHA-256 of every byte before it
//
// Nothing comes after the seal. `zstd -d | tar x` reads it too. With --encrypt the whole is
// wrapped by age, and the name ends in .age.
//
// Every byte is covered: those before the seal by its hash, and the seal by being
// exactly what it has to be. The seal finds damage, not malice: who may write the file can
// seal it anew. So nothing in it is trusted: a reader works out from the manifest what each
// byte of the tar's headers must be, and refuses whatever differs by one of them. Links, devices,
// names that lead out, sparse files and second entries have no form in which they could be written.
// Its memory is bounded by the window of 1 MiB and the manifest's 4 MiB, the disk it
// takes by the sizes in the manifest, which are held against the free space first.
//
// # Writing
//
//	err := store.Copy(ctx, copy, nil)
//	examined, err := archive.Examine(ctx, copy)
//	defer examined.Stop()
//	…
//	pending, err := archive.Create(path, force)
//	defer pending.Abort()
//	w, err := archive.Encrypt(pending, recipients)
//	err = archive.Write(ctx, w, manifest, open, examined.Sound, progress)
//	err = w.Close()
//	err = pending.Commit()
//
// # Reading
//
// [Verify] proves a file, [Extract] lays it out in a directory, [Inspect] looks at the manifest
// alone. All three name what is wrong in one line, as one of [ErrDamaged], [ErrNotArchive],
// [ErrNewer] and [ErrEncrypted].
package archive
