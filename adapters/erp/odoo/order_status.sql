with {{>company.sql}}
select s.id as key,
       case when {{order_number}} = 'client_order_ref' then s.client_order_ref else s.name end as "order",
       case when s.state = 'cancel' then 'cancelled'
            when s.state in ('draft', 'sent') then 'quotation'
            when s.delivery_status = 'full' then 'shipped'
            when s.delivery_status = 'partial' then 'partially_shipped'
            else 'confirmed' end as status,  -- also 'started': picked, and nothing has left the house
       s.state, s.delivery_status, s.invoice_status, s.client_order_ref as reference,
       coalesce(parcels.fulfilments, '[]') as fulfilments, coalesce(parcels.returns, '[]') as returns
  from sale_order s
  join company on company.id = s.company_id
  left join lateral (
    select json_agg(parcel.shown order by parcel.name, parcel.id) filter (where target.usage = 'customer') as fulfilments,
           json_agg(parcel.shown order by parcel.name, parcel.id) filter (where source.usage = 'customer') as returns
      from (
        select k.id, k.name, k.location_id, k.location_dest_id, json_build_object(
                 'id', k.name, 'status', k.state,
                 'carrier', {{#carriers}}coalesce(c.name ->> 'en_US', (select value from jsonb_each_text(c.name) limit 1)){{/carriers}}{{^carriers}}null::text{{/carriers}},
                 'tracking_number', {{#carriers}}nullif(k.carrier_tracking_ref, ''){{/carriers}}{{^carriers}}null::text{{/carriers}},
                 'lines', coalesce((
                   select json_agg(json_build_object('sku', line.sku, 'quantity', trim_scale(line.quantity)::text)
                                   order by line.sku)
                     from (select case when {{sku}} = 'barcode' then p.barcode else p.default_code end as sku,
                                  -- a move may be in another unit than the product: dozens, and pieces
                                  sum(case when m.product_uom = t.uom_id then told.quantity
                                           else round(told.quantity * own.factor / moved.factor / own.rounding) * own.rounding
                                      end) as quantity
                             from stock_move m
                             join product_product p on p.id = m.product_id
                             join product_template t on t.id = p.product_tmpl_id
                             join uom_uom own on own.id = t.uom_id
                             join uom_uom moved on moved.id = m.product_uom
                            cross join lateral (values (
                              case when m.state = 'done' then coalesce(m.quantity, 0) else m.product_uom_qty end)) told(quantity)
                            where m.picking_id = k.id and (m.state <> 'cancel' or k.state = 'cancel')
                            group by 1) line), '[]')) as shown
          from stock_picking k
          {{#carriers}}left join delivery_carrier c on c.id = k.carrier_id{{/carriers}}
         where k.sale_id = s.id
      ) parcel
      join stock_location source on source.id = parcel.location_id
      join stock_location target on target.id = parcel.location_dest_id
  ) parcels on true
 where s.id = any($1)
   and case when {{order_number}} = 'client_order_ref' then s.client_order_ref else s.name end <> ''
