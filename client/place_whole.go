package client

import (
	"errors"
	"fmt"
)

// whole places a regular file whose content is at hand. For the many small files
// of a usual tree it takes fewer calls of the system than [placer.create], and
// no memory of what is being written.
func (p *placer) whole(e *Entry, content []byte) error {
	if made, err := p.wholeNew(e, content); made || err != nil {
		if err != nil {
			err = fmt.Errorf("restore %q: %w", e.Path, err)
		}
		return err
	}
	f, err := p.create(e)
	if err != nil {
		return err
	}
	if len(content) > 0 {
		if _, err := f.WriteAt(content, 0); err != nil {
			return errors.Join(err, f.abort())
		}
	}
	return f.finish()
}

// wholeNew is whole for a file that is not there yet and has nothing special;
// for others made is false.
func (p *placer) wholeNew(e *Entry, content []byte) (made bool, err error) {
	if int64(len(content)) != e.Size || e.Mode&^0o777 != 0 || len(e.Xattrs) > 0 {
		return false, nil
	}
	if err := checkPlace(e.Path); err != nil {
		return false, err
	}
	d, name, err := p.enter(e.Path)
	if err != nil {
		return false, err
	}
	defer p.leave(d)
	if err := d.acquire(); err != nil {
		return false, err
	}
	defer d.release()
	return p.writeNew(d.folder, name, e, content)
}
