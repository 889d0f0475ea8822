package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nuid"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// transmit answers the seed's TRANSMITIR: the content goes to a storage node as
// {id, conteudo_arquivo}, one element of a put, and becomes a version of the
// nickname's unsealed vault.
func (c *Coordinator) transmit(ctx context.Context, req *schemas.TransmitRequest) (any, error) {
	if err := checkTransmit(req); err != nil {
		return nil, err
	}
	vault := schemas.PlainVault(req.Nickname)
	room, err := c.members.room(vault, true)
	if err != nil {
		return nil, err
	}
	if err := c.records.enterVault(ctx, req.Nickname, nil); err != nil {
		return nil, err
	}
	h, err := c.records.head(ctx, req.Nickname, req.Record)
	if err != nil {
		return nil, err
	}
	if err := checkSource(&h, schemas.SourceID{}, false, false); err != nil {
		return nil, err
	}
	chunk := schemas.Chunk{ID: schemas.PlainChunkID(vault, *req.Content), Kind: schemas.Plain, Content: *req.Content}
	chunk.Sum = chunk.Checksum()
	set := placement.New(room.nodes).Place(nil, chunk.ID, room.durability.Replicas())
	generation, err := c.state.generation(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.put(ctx, set, vault, &chunk); err != nil {
		return nil, err
	}
	size := int64(len(chunk.Content))
	v, err := c.records.commit(ctx, &schemas.Version{
		Nickname: req.Nickname, Record: req.Record, Vault: vault, Root: chunk.ID, RootKind: schemas.Plain,
		Files: 1, Bytes: size, Stored: size, Durability: room.wanted, Degraded: room.degraded(), Session: nuid.Next(),
		Epoch: room.nodes.Epoch, Tolerates: room.durability.M,
	}, h.Highest, false)
	if err != nil {
		return nil, err
	}
	// There is no session that a collection could see. One that began after the put may
	// not have seen the version either, and sweep the chunk; but not one that is put in
	// its generation, and those to come see the version.
	switch now, err := c.state.generation(ctx); {
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

// put sends one chunk and waits until every node of set has synced it. One message
// names [schemas.MaxSet] nodes at most.
func (c *Coordinator) put(ctx context.Context, set []schemas.NodeID, vault schemas.VaultID, chunk *schemas.Chunk) error {
	b := schemas.NewPut(nil, c.id, vault)
	b.Add(chunk)
	done := make(chan error, len(set))
	messages := 0
	for some := range slices.Chunk(set, schemas.MaxSet) {
		if err := c.sender.Send(ctx, some, b.Put(), func(err error) { done <- err }); err != nil {
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
	if _, err := c.records.vault(ctx, req.Nickname); err != nil {
		return nil, err
	}
	if req.Record != "" {
		return c.listVersions(ctx, req)
	}
	heads, err := c.records.heads(ctx, req.Nickname, req.After, req.Forgotten)
	if err != nil {
		return nil, err
	}
	rep := &schemas.ListReply{Reply: schemas.OK, Names: []string{}}
	for i, room := 0, listRoom; i < len(heads); i++ {
		// A name is in the answer twice.
		if room -= 2*len(heads[i].Name) + 128; room < 0 {
			rep.Next = rep.Names[len(rep.Names)-1]
			break
		}
		rep.Names = append(rep.Names, heads[i].Name)
		rep.Records = append(rep.Records, heads[i])
	}
	return rep, nil
}

// listRoom is how many bytes of an answer a list may fill.
const listRoom = schemas.MaxBatch - 1024

func (c *Coordinator) listVersions(ctx context.Context, req *schemas.ListRequest) (any, error) {
	var below uint64
	if req.After != "" {
		var err error
		if _, below, err = schemas.ParseVersionID(req.After); err != nil {
			return nil, err
		}
	}
	versions, err := c.records.versions(ctx, req.Nickname, req.Record, below)
	if err != nil {
		return nil, err
	}
	if !req.Forgotten {
		versions = slices.DeleteFunc(versions, func(v schemas.Version) bool { return v.Forgotten > 0 })
	}
	if len(versions) == 0 && req.After == "" {
		if _, err := c.records.version(ctx, req.Nickname, req.Record, 0); err != nil {
			return nil, err // which says what there is none of
		}
	}
	rep := &schemas.ListReply{Reply: schemas.OK, Names: []string{req.Record}}
	for i, room := 0, listRoom; i < len(versions); i++ {
		v := &versions[i]
		if room -= 2*len(v.Record) + len(v.Nickname) + len(v.Sealed) + 384; room < 0 && i > 0 {
			rep.Next = rep.Versions[i-1].ID
			break
		}
		rep.Versions = append(rep.Versions, *v)
	}
	return rep, nil
}

// download answers the seed's BAIXAR: with the content when the version is a
// plain file, else with what a client needs to fetch and open it.
func (c *Coordinator) download(ctx context.Context, req *schemas.DownloadRequest) (any, error) {
	if err := schemas.CheckNickname(req.Nickname); err != nil {
		return nil, err
	}
	record, number, err := schemas.ParseVersionID(req.ID)
	if err != nil {
		return nil, err
	}
	v, err := c.records.version(ctx, req.Nickname, record, number)
	if err != nil {
		return nil, err
	}
	nodes := c.members.nodeMap()
	rep := &schemas.DownloadReply{Reply: schemas.OK, Record: v.Record, Version: v}
	if v.RootKind != schemas.Plain {
		rep.Map = nodes
		return rep, nil
	}
	content, err := c.fetchPlain(ctx, v, nodes)
	rep.Content = &content
	return rep, err
}

// fetchPlain asks a node with {id_arquivo} and takes conteudo_arquivo.
func (c *Coordinator) fetchPlain(ctx context.Context, v *schemas.Version, nodes *schemas.NodeMap) (content []byte, err error) {
	holders := replica.NewReader(c.nc, nodes)
	err = holders.Fetch(ctx, v.Vault, []schemas.ChunkID{v.Root}, false, func(_ int, chunk *schemas.Chunk) error {
		if schemas.PlainChunkID(v.Vault, chunk.Content) != v.Root {
			return schemas.Errorf(schemas.Corrupt, "chunk %s does not match its id", v.Root.Short())
		}
		content = chunk.Content
		return nil
	})
	if errors.Is(err, bus.ErrNoResponders) {
		err = schemas.Errorf(schemas.NoNode, "%v: is the storage node running?", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", v.ID, err)
	}
	return content, nil
}
