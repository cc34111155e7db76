with {{>company.sql}},
wanted as (
  select s.id, case when {{order_number}} = 'reference' then s.reference else s.number end as number,
         s.reference, s.state, s.shipment_state, s.invoice_state
    from sale_sale s
    join company c on c.company = s.company
   where s.id = any($1) and s.state <> 'draft'
     and case when {{order_number}} = 'reference' then s.reference else s.number end <> ''
     and ({{orders_since}} is null or s.sale_date is null or s.sale_date >= {{orders_since}}::date)
),
origin as (
  select l.sale, 'sale.line,' || l.id as origin from sale_line l where l.sale in (select id from wanted) and l.type = 'line'
{{#kits}}
   union all
  select l.sale, 'sale.line.component,' || k.id
    from sale_line l
    join sale_line_component k on k.line = l.id
   where l.sale in (select id from wanted)
{{/kits}}
),
-- quantities in the unit in which they were sold
moved as (
  select o.sale, m.shipment, p.code as sku, m.quantity::numeric as quantity
    from origin o
    join stock_move m on m.origin = o.origin
    join product_product p on p.id = m.product
   where m.shipment is not null and m.state <> 'cancelled'
),
sent as (
  select distinct o.sale, m.shipment
    from origin o
    join stock_move m on m.origin = o.origin
   where m.shipment is not null
),
fulfilment as (
  select s.sale, s.shipment, 'delivery' as kind, coalesce(o.number, '#' || o.id) as number, o.state,
{{#carriers}}
         (select p.name from carrier k join party_party p on p.id = k.party where k.id = (to_jsonb(o) ->> 'carrier')::int)
{{/carriers}}
{{^carriers}}
         null::text
{{/carriers}}
         as carrier,
         coalesce(
{{#packages}}
           (select string_agg(distinct k.shipping_reference, ', ') from stock_package k
             where k.shipment = s.shipment and k.shipping_reference <> ''),
{{/packages}}
           nullif(to_jsonb(o) ->> 'shipping_reference', '')) as tracking_number
    from sent s
    join stock_shipment_out o on s.shipment = 'stock.shipment.out,' || o.id
   union all
  select s.sale, s.shipment, 'return', 'return ' || coalesce(o.number, '#' || o.id), o.state, null, null
    from sent s
    join stock_shipment_out_return o on s.shipment = 'stock.shipment.out.return,' || o.id
)
select w.id as key,
       w.number as "order",
       w.reference,
       w.state as status,
       w.shipment_state as shipment_status,
       w.invoice_state as payment_status,
       coalesce((
         select json_agg(json_build_object(
                  'id', f.number,
                  'kind', f.kind,
                  'status', f.state,
                  'carrier', f.carrier,
                  'tracking_number', f.tracking_number,
                  'lines', coalesce((
                    select json_agg(json_build_object('sku', g.sku, 'quantity', trim_scale(g.quantity)::text) order by g.sku)
                      from (select m.sku, sum(m.quantity) as quantity
                              from moved m
                             where m.sale = f.sale and m.shipment = f.shipment
                             group by m.sku) g), '[]'::json)
                ) order by f.kind, f.number)
           from fulfilment f
          where f.sale = w.id), '[]'::json) as fulfilments
  from wanted w
