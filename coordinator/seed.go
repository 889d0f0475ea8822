package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nuid"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/members"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// transmit answers the seed's TRANSMITIR: the content goes to storage nodes as
// {id, conteudo_arquivo}, one element of a put, and becomes a version in the nickname's
// unsealed vault.
func (c *Coordinator) transmit(ctx context.Context, req *schemas.TransmitRequest) (any, error) {
	if err := checkTransmit(req); err != nil {
		return nil, err
	}
	vault := schemas.PlainVault(req.Nickname)
	destinations, err := members.FindDestinations(c.members.Map(), vault, true)
	if err != nil {
		return nil, err
	}
	if err := c.copies.checkKnown(ctx); err != nil {
		return nil, err
	}
	if err := c.catalog.EnterVault(ctx, req.Nickname, nil); err != nil {
		return nil, err
	}
	h, err := c.catalog.Head(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if err := catalog.CheckSource(&h, schemas.SourceID{}, false, false); err != nil {
		return nil, err
	}
	chunk := schemas.Chunk{ID: schemas.PlainChunkID(vault, *req.Content), Kind: schemas.Plain, Content: *req.Content}
	chunk.Sum = chunk.Checksum()
	set := placement.New(destinations.Map).Place(nil, chunk.ID, destinations.Durability.Replicas())
	generation, err := c.catalog.Generation(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.put(ctx, set, vault, &chunk); err != nil {
		return nil, err
	}
	size := int64(len(chunk.Content))
	v, err := c.catalog.Commit(ctx, &schemas.Version{
		Nickname: req.Nickname, Record: req.Record, Vault: vault, Root: chunk.ID, RootKind: schemas.Plain,
		Files: 1, Bytes: size, Stored: size, Durability: destinations.Wanted, Degraded: destinations.Degraded(), Session: nuid.Next(),
		Epoch: destinations.Map.Epoch, Tolerates: destinations.Durability.M,
	}, h.Highest, false)
	if err != nil {
		return nil, err
	}
	// There is no session that a collection could see. A collection that began after the put
	// may not have seen the version either, and would sweep the chunk. It does not sweep a
	// chunk that is put in its own generation, and later collections see the version.
	switch now, err := c.catalog.Generation(ctx); {
	case err != nil:
		return nil, err
	case now != generation:
		if err := c.put(ctx, set, vault, &chunk); err != nil {
			return nil, err
		}
	}
	c.event(schemas.EventVersionCommitted, v.ID, v.Nickname, "%s sent %s: %d bytes", v.Nickname, v.ID, size)
	return &schemas.TransmitReply{Reply: schemas.OK, ID: v.ID}, nil
}

func checkTransmit(req *schemas.TransmitRequest) error {
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return err
	}
	if err := schemas.CheckRecord(req.Record); err != nil {
		return err
	}
	if req.Content == nil {
		return schemas.Errorf(schemas.BadRequest, "the field conteudo_arquivo is missing")
	}
	if n := len(*req.Content); n > schemas.MaxContent {
		return schemas.Errorf(schemas.TooLarge, "the content has %d bytes, one message takes %d: send it with \"backup transmit\", or in chunks through backup.session.open", n, schemas.MaxContent)
	}
	return nil
}

// put sends one chunk and waits until every node of set has synced it. One message names at
// most [schemas.MaxSet] nodes.
func (c *Coordinator) put(ctx context.Context, set []schemas.NodeID, vault schemas.VaultID, chunk *schemas.Chunk) error {
	b := schemas.NewPut(nil, c.id, vault)
	b.Add(chunk)
	done := make(chan error, len(set))
	messages := 0
	for batch := range slices.Chunk(set, schemas.MaxSet) {
		if err := c.writer.Send(ctx, batch, b.Put(), func(err error) { done <- err }); err != nil {
			return err
		}
		messages++
	}
	for range messages {
		select {
		case err := <-done:
			if errors.Is(err, replica.ErrUnresponsive) {
				return schemas.Errorf(schemas.NoNode, "%v: is it running?", err)
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// list answers the seed's LISTAR.
func (c *Coordinator) list(ctx context.Context, req *schemas.ListRequest) (any, error) {
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return nil, err
	}
	if err := c.copies.checkKnown(ctx); err != nil {
		return nil, err
	}
	vault, err := c.catalog.Vault(ctx, req.Nickname)
	if err != nil {
		return nil, err
	}
	if req.Record != "" {
		return c.listVersions(ctx, req, vault.Fingerprint)
	}
	records, err := c.catalog.Records(ctx, req.Nickname, req.After, req.Forgotten)
	if err != nil {
		return nil, err
	}
	rep := &schemas.ListReply{Reply: schemas.OK, Names: []string{}, Fingerprint: vault.Fingerprint}
	for i, space := 0, listSpace; i < len(records); i++ {
		// The answer has every name twice.
		if space -= 2*len(records[i].Name) + 128; space < 0 {
			rep.Next = rep.Names[len(rep.Names)-1]
			break
		}
		rep.Names = append(rep.Names, records[i].Name)
		rep.Records = append(rep.Records, records[i])
	}
	return rep, nil
}

// listSpace is how many bytes a list may take in an answer.
const listSpace = schemas.MaxBatch - 1024

// listVersions lists the versions of one record. fingerprint is that of the vault's key.
func (c *Coordinator) listVersions(ctx context.Context, req *schemas.ListRequest, fingerprint []byte) (any, error) {
	var below uint64
	if req.After != "" {
		var err error
		if _, below, err = schemas.ParseVersionID(req.After); err != nil {
			return nil, err
		}
	}
	versions, err := c.catalog.Versions(ctx, req.Nickname, req.Record, below)
	if err != nil {
		return nil, err
	}
	if !req.Forgotten {
		versions = slices.DeleteFunc(versions, func(v schemas.Version) bool { return v.Forgotten > 0 })
	}
	if len(versions) == 0 && req.After == "" {
		if _, err := c.catalog.Version(ctx, req.Nickname, req.Record, 0); err != nil {
			return nil, err // which says what is unknown
		}
	}
	rep := &schemas.ListReply{Reply: schemas.OK, Names: []string{req.Record}, Fingerprint: fingerprint}
	for i, space := 0, listSpace; i < len(versions); i++ {
		v := &versions[i]
		if space -= 2*len(v.Record) + len(v.Nickname) + len(v.Sealed) + 384; space < 0 && i > 0 {
			rep.Next = rep.Versions[i-1].ID
			break
		}
		rep.Versions = append(rep.Versions, *v)
	}
	return rep, nil
}

// parseKnown splits a version's id, for a request that names one. It fails while the catalogue is
// lost, because then nothing can be said about a version.
func (c *Coordinator) parseKnown(ctx context.Context, nickname, id string) (record string, number uint64, err error) {
	if err := schemas.CheckNickname(nickname); err != nil {
		return "", 0, err
	}
	if err := c.copies.checkKnown(ctx); err != nil {
		return "", 0, err
	}
	return schemas.ParseVersionID(id)
}

// download answers the seed's BAIXAR: with the content if the version is a plain file, else
// with what a client needs to fetch and unseal it.
func (c *Coordinator) download(ctx context.Context, req *schemas.DownloadRequest) (any, error) {
	record, number, err := c.parseKnown(ctx, req.Nickname, req.ID)
	if err != nil {
		return nil, err
	}
	v, err := c.catalog.Version(ctx, req.Nickname, record, number)
	if err != nil {
		return nil, err
	}
	nodes := c.members.Map()
	rep := &schemas.DownloadReply{Reply: schemas.OK, Record: v.Record, Version: v}
	if v.RootKind != schemas.Plain {
		vault, err := c.catalog.Vault(ctx, req.Nickname)
		rep.Map, rep.Fingerprint = nodes, vault.Fingerprint
		return rep, err
	}
	content, err := c.fetchPlain(ctx, v, nodes)
	rep.Content = &content
	return rep, err
}

// fetchPlain asks a node with {id_arquivo} and returns its conteudo_arquivo.
func (c *Coordinator) fetchPlain(ctx context.Context, v *schemas.Version, nodes *schemas.NodeMap) (content []byte, err error) {
	reader, bad := replica.NewReader(c.nc, nodes), false
	matches := func(chunk *schemas.Chunk) error {
		if schemas.PlainChunkID(v.Vault, chunk.Content) != v.Root {
			return replica.BadReplica(schemas.Errorf(schemas.Corrupt, "chunk %s does not match its id", v.Root.Short()))
		}
		return nil
	}
	err = reader.Fetch(ctx, v.Vault, []schemas.ChunkID{v.Root}, false, func(_ int, chunk *schemas.Chunk) error {
		err := matches(chunk)
		if err == nil {
			content = chunk.Content
		} else {
			bad = true
		}
		return err
	})
	if bad { // whoever sends the same content again replaces it
		reader.Void(ctx, v.Vault, v.Root, matches)
	}
	if errors.Is(err, bus.ErrNoResponders) {
		err = schemas.Errorf(schemas.NoNode, "%v: is the storage node running?", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", v.ID, err)
	}
	return content, nil
}
